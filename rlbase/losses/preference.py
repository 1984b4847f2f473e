r"""Losses that learn a policy from preferences directly; one number per comparison, or per verdict.

$h=\log\frac{\pi(y_w|x)}{\pi_{ref}(y_w|x)}-\log\frac{\pi(y_l|x)}{\pi_{ref}(y_l|x)}$ throughout: how much more the policy
has come to favour the chosen response than the reference does. ``logp`` is the log-probability of a whole response
(summed over its tokens, EOS included), ``avg_logp`` the same divided by the number of tokens. Nobody's distance to the
reference is priced here by a separate term: where a loss has a finite optimum, its shape alone keeps the policy near.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from rlbase.validate import a_tensor, in_range, same_shape

INFINITY = float("inf")


def dpo(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    chosen_ref_logp: Float[Tensor, " B"],
    rejected_ref_logp: Float[Tensor, " B"],
    *,
    beta: float,
) -> Float[Tensor, " B"]:
    r"""Direct preference optimisation, $-\log\sigma(\beta h)$.

    Rafailov et al. (2023), eq. 7: Bradley-Terry with the implicit reward $\beta\log\frac{\pi}{\pi_{ref}}$. If labels
    follow a reward and every response is compared, its optimum is that of KL-regularised RL,
    $\pi_{ref}e^{r/\beta}/Z$. If someone always wins, the loss falls for ever and $h$ grows without bound, for every
    $\beta$. Only the difference is trained: both log-probabilities may fall.

    Raises:
        ValueError: shapes differ, or ``beta`` is not positive.

    >>> logp, ref = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> dpo(ref, ref, ref, ref, beta=0.1), dpo(logp, ref, ref, ref, beta=1.0)  # log 2 at the start; log(1 + 1/e)
    (tensor([0.6931]), tensor([0.3133]))
    """
    h = _gap("dpo", chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return softplus(-_positive("dpo", "beta", beta) * h)


def cdpo(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    chosen_ref_logp: Float[Tensor, " B"],
    rejected_ref_logp: Float[Tensor, " B"],
    *,
    beta: float,
    label_smoothing: float,
) -> Float[Tensor, " B"]:
    r"""Conservative DPO, $-(1-\epsilon)\log\sigma(\beta h)-\epsilon\log\sigma(-\beta h)$.

    Mitchell (2023), *A note on DPO with noisy preferences*: each label is believed with probability $1-\epsilon$. The
    loss of a pair is smallest at the finite $\beta h=\log\frac{1-\epsilon}\epsilon$. That tames labels which are always
    the same; it does not undo noise: its mean over flipped labels is not the loss of the clean ones (`rdpo`'s is).

    Raises:
        ValueError: shapes differ, ``beta`` is not positive, or ``label_smoothing`` is outside [0, 1/2].

    >>> even = torch.zeros(1)
    >>> cdpo(torch.tensor([2.0]), even, even, even, beta=1.0, label_smoothing=0.5)  # as if tossed: best at h = 0
    tensor([1.1269])
    """
    h = _gap("cdpo", chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    h = _positive("cdpo", "beta", beta) * h
    in_range("cdpo", "label_smoothing", label_smoothing, 0, 0.5)
    return (1 - label_smoothing) * softplus(-h) + label_smoothing * softplus(h)


def rdpo(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    chosen_ref_logp: Float[Tensor, " B"],
    rejected_ref_logp: Float[Tensor, " B"],
    *,
    beta: float,
    label_smoothing: float,
) -> Float[Tensor, " B"]:
    r"""Robust DPO, $\frac{-(1-\epsilon)\log\sigma(\beta h)+\epsilon\log\sigma(-\beta h)}{1-2\epsilon}$.

    Chowdhury, Kini & Natarajan (2024), section 3: if labels are flipped with probability $\epsilon$, its mean over the
    flips is exactly `dpo`'s loss of the clean label. One comparison's loss has no lower bound, so that a few
    comparisons seen often are pushed apart without end.

    Raises:
        ValueError: shapes differ, ``beta`` is not positive, or ``label_smoothing`` is outside [0, 1/2).

    >>> a, even = torch.tensor([2.0]), torch.zeros(1)
    >>> right, flipped = (rdpo(*x, even, even, beta=1.0, label_smoothing=0.2) for x in ((a, even), (even, a)))
    >>> 0.8 * right + 0.2 * flipped, dpo(a, even, even, even, beta=1.0)
    (tensor([0.1269]), tensor([0.1269]))
    """
    h = _gap("rdpo", chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    h = _positive("rdpo", "beta", beta) * h
    in_range("rdpo", "label_smoothing", label_smoothing, 0, 0.5, open_high=True)
    return ((1 - label_smoothing) * softplus(-h) - label_smoothing * softplus(h)) / (1 - 2 * label_smoothing)


def ipo(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    chosen_ref_logp: Float[Tensor, " B"],
    rejected_ref_logp: Float[Tensor, " B"],
    *,
    tau: float,
) -> Float[Tensor, " B"]:
    r"""Identity preference optimisation, $\big(h-\frac1{2\tau}\big)^2$.

    Azar et al. (2024), eq. 17. A response preferred with probability p comes to rest at $h=\frac{p-1/2}\tau$: at most
    $\frac1{2\tau}$, however sure the labels are (`rlbase.exact.ipo_optimum`). The paper sums log-probabilities over a
    response; widespread code divides each by its length first, which makes $\tau$ mean something else: pass what you
    mean.

    Raises:
        ValueError: shapes differ, or ``tau`` is not positive.

    >>> even = torch.zeros(1)
    >>> ipo(even, even, even, even, tau=0.1)  # 5 squared
    tensor([25.])
    """
    h = _gap("ipo", chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return (h - 1 / (2 * _positive("ipo", "tau", tau))).square()


def hinge(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    chosen_ref_logp: Float[Tensor, " B"],
    rejected_ref_logp: Float[Tensor, " B"],
    *,
    beta: float,
) -> Float[Tensor, " B"]:
    r"""DPO's gap under a hinge, $\max(0,1-\beta h)$: past the margin $1/\beta$ nothing pulls any more.

    Liu et al. (2024), *hinge-norm*, with the reference as in DPO; without one it is `slic`.

    Raises:
        ValueError: shapes differ, or ``beta`` is not positive.

    >>> a, even = torch.tensor([4.0]), torch.zeros(1)
    >>> hinge(a, even, even, even, beta=0.1), hinge(a, even, even, even, beta=0.5)
    (tensor([0.6000]), tensor([0.]))
    """
    h = _gap("hinge", chosen_logp, rejected_logp, chosen_ref_logp, rejected_ref_logp)
    return relu(1 - _positive("hinge", "beta", beta) * h)


def slic(
    chosen_logp: Float[Tensor, " B"], rejected_logp: Float[Tensor, " B"], *, delta: float
) -> Float[Tensor, " B"]:
    r"""The ranking term of SLiC-HF, $\max(0,\delta-\log\pi(y_w)+\log\pi(y_l))$; the caller adds its likelihood term.

    Zhao et al. (2023), section 2. It knows no reference: what keeps the policy in place is the other term.

    Raises:
        ValueError: shapes differ, or ``delta`` is negative.

    >>> slic(torch.tensor([-3.0]), torch.tensor([-3.5]), delta=1.0)
    tensor([0.5000])
    """
    same_shape("slic", chosen_logp=chosen_logp, rejected_logp=rejected_logp)
    in_range("slic", "delta", delta, 0, INFINITY, open_high=True)
    return relu(delta - chosen_logp + rejected_logp)


def simpo(
    chosen_avg_logp: Float[Tensor, " B"],
    rejected_avg_logp: Float[Tensor, " B"],
    *,
    beta: float,
    gamma: float,
) -> Float[Tensor, " B"]:
    r"""SimPO, $-\log\sigma(\beta(\bar\ell_w-\bar\ell_l)-\gamma)$ with $\bar\ell$ the mean log-probability of a token.

    Meng, Xia & Chen (2024), eq. 6: no reference, and no reward for length. Some code asks for the ratio
    $\gamma/\beta$ instead of $\gamma$. Nothing anchors the policy but the learning rate and early stopping.

    Raises:
        ValueError: shapes differ, ``beta`` is not positive or ``gamma`` negative.

    >>> simpo(torch.tensor([-1.0]), torch.tensor([-1.5]), beta=2.0, gamma=1.0)  # the margin is just met
    tensor([0.6931])
    """
    same_shape("simpo", chosen_avg_logp=chosen_avg_logp, rejected_avg_logp=rejected_avg_logp)
    in_range("simpo", "gamma", gamma, 0, INFINITY, open_high=True)
    gap = chosen_avg_logp - rejected_avg_logp
    return softplus(gamma - _positive("simpo", "beta", beta) * gap)


def orpo(
    chosen_avg_logp: Float[Tensor, " B"], rejected_avg_logp: Float[Tensor, " B"], *, lam: float
) -> Float[Tensor, " B"]:
    r"""The odds-ratio term of ORPO, $-\lambda\log\sigma\big(\log\frac{P_w}{1-P_w}-\log\frac{P_l}{1-P_l}\big)$.

    Hong, Lee & Thorne (2024), eq. 7, where $P=e^{\bar\ell}$ is the geometric mean of a response's token probabilities.
    The likelihood of the chosen response is added by the caller; this term alone has no reason to raise it. A $P$ that
    rounds to 1 counts as one rounding step below, so that the odds stay finite.

    Raises:
        ValueError: shapes differ, ``lam`` is negative, or a mean log-probability is above 0.

    >>> half, quarter = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    >>> orpo(half, quarter, lam=1.0)  # odds 1 and 1/3: log(1 + 1/3)
    tensor([0.2877])
    """
    same_shape("orpo", chosen_avg_logp=chosen_avg_logp, rejected_avg_logp=rejected_avg_logp)
    in_range("orpo", "lam", lam, 0, INFINITY, open_high=True)
    return -lam * logsigmoid(_log_odds(chosen_avg_logp) - _log_odds(rejected_avg_logp))


def kto(
    logp: Float[Tensor, " B"],
    ref_logp: Float[Tensor, " B"],
    desirable: Bool[Tensor, " B"],
    kl: Tensor | float,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " B"]:
    r"""KTO (Kahneman-Tversky), $\lambda_D\sigma(\beta(z_0-u))$ if desirable, $\lambda_U\sigma(\beta(u-z_0))$ if not.

    Ethayarajh et al. (2024), section 4.1, with $u=\log\frac\pi{\pi_{ref}}$ and the reference point
    $z_0=\max(0,$ ``kl`` $)$, through which no gradient flows (`mismatched_kl` estimates it). A bounded loss and no
    likelihood: it is flat on both sides, where a response is all but settled. Its optimum keeps, of all responses,
    only those that are called desirable often enough (`rlbase.exact.kto_optimum`).

    Raises:
        ValueError: shapes differ, ``beta`` is not positive, a weight is negative, or ``kl`` is not one number.
        TypeError: ``desirable`` is not boolean.

    >>> logp, ref = torch.tensor([-1.0, -1.0]), torch.tensor([-2.0, -2.0])
    >>> kto(logp, ref, torch.tensor([True, False]), 0.0, beta=1.0)  # 1 - sigma(1), 1 - sigma(-1)
    tensor([0.2689, 0.7311])
    """
    same_shape("kto", logp=logp, ref_logp=ref_logp, desirable=desirable)
    if desirable.dtype != torch.bool:
        raise TypeError(f"kto: desirable must be boolean, got {desirable.dtype}.")
    for name, weight in (("desirable_weight", desirable_weight), ("undesirable_weight", undesirable_weight)):
        in_range("kto", name, weight, 0, INFINITY, open_high=True)
    if not isinstance(kl, Tensor):
        in_range("kto", "kl", kl, -INFINITY, INFINITY)
    z = torch.as_tensor(kl, dtype=logp.dtype, device=logp.device).detach()
    if z.numel() != 1:
        raise ValueError(f"kto: kl must be one number for the whole batch, got shape {list(z.shape)}.")
    gain = _positive("kto", "beta", beta) * (logp - ref_logp - z.reshape(()).clamp(min=0))
    return torch.where(
        desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain)
    )


def mismatched_kl(
    logp: Float[Tensor, " B"], ref_logp: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
) -> Float[Tensor, ""]:
    r"""KTO's reference point, $\max\big(0,\frac1B\sum_i\log\frac{\pi(y_{i+1}|x_i)}{\pi_{ref}(y_{i+1}|x_i)}\big)$.

    Ethayarajh et al. (2024), section 4.1: the mean log-ratio of responses that belong to *other* prompts. It is cheap,
    and no unbiased estimate of $KL(\pi\|\pi_{ref})$, which would need responses of the policy: what it says is how
    much the policy has raised responses in general.

    Raises:
        ValueError: shapes differ.

    >>> mismatched_kl(torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -3.5]))
    tensor(0.2500)
    """
    same_shape("mismatched_kl", logp=logp, ref_logp=ref_logp, weight=logp if weight is None else weight)
    ratio = (logp - ref_logp).detach()
    mean = ratio.mean() if weight is None else (weight * ratio).sum() / weight.sum().clamp(min=1e-30)
    return mean.clamp(min=0)


def _gap(where: str, chosen: Tensor, rejected: Tensor, chosen_ref: Tensor, rejected_ref: Tensor) -> Tensor:
    same_shape(where, chosen_logp=chosen, rejected_logp=rejected)
    same_shape(where, chosen_logp=chosen, chosen_ref_logp=chosen_ref, rejected_ref_logp=rejected_ref)
    return (chosen - chosen_ref) - (rejected - rejected_ref)


def _positive(where: str, name: str, value: float) -> float:
    in_range(where, name, value, 0, INFINITY, open_low=True, open_high=True)
    return value


def _log_odds(avg_logp: Tensor) -> Tensor:
    """log(P / (1 - P)) of P = exp(avg_logp), right at both ends."""
    a_tensor("orpo", avg_logp=avg_logp)
    highest = avg_logp.detach().amax().item() if avg_logp.numel() else 0.0
    in_range("orpo", "the mean log-probability", highest, -INFINITY, 1e-3)
    x = avg_logp.clamp(max=-torch.finfo(avg_logp.dtype).eps)
    # log(1 - e^x): near 0 by expm1, far below it by log1p (Maechler 2012)
    near = x > -0.6931
    close, far = torch.where(near, x, -0.6931), torch.where(near, -0.6931, x)
    return x - torch.where(near, torch.log(-torch.expm1(close)), torch.log1p(-torch.exp(far)))
