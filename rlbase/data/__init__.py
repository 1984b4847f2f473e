"""Texts and what is measured on them: the world of film reviews, its sentiment, variety."""
