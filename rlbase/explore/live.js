// Draws a list of shapes [tag, attributes, text] as SVG. Nodes are kept and patched in place:
// an attribute that did not change is not touched, so a key press costs a few DOM writes.
const NS = "http://www.w3.org/2000/svg";

function patch(svg, seen, shapes) {
  shapes.forEach(([tag, attributes, text], i) => {
    let slot = seen[i];
    if (!slot || slot.tag !== tag) {
      const node = document.createElementNS(NS, tag);
      if (slot) svg.replaceChild(node, slot.node);
      else svg.appendChild(node);
      slot = seen[i] = { tag, node, attributes: {}, text: "" };
    }
    for (const name of Object.keys(slot.attributes)) {
      if (!(name in attributes)) slot.node.removeAttribute(name);
    }
    for (const [name, value] of Object.entries(attributes)) {
      if (slot.attributes[name] !== value) slot.node.setAttribute(name, value);
    }
    if (slot.text !== (text ?? "")) slot.node.textContent = slot.text = text ?? "";
    slot.attributes = attributes;
  });
  for (const extra of seen.splice(shapes.length)) extra.node.remove();
}

function speakControls(element, labels) {
  // The toolkit shows a slider's label and value but tells a screen reader neither the label nor the
  // value as shown (0.9100000000000001; the exponent of a logarithmic slider), so both are set here.
  const root = element.closest(".rlbase-explorable");
  // Arrow keys and letters on a drop-down list are its own: JupyterLab would move to another cell, or cut it.
  root?.querySelectorAll("select").forEach((list) => list.setAttribute("data-lm-suppress-shortcuts", "true"));
  if (root && !root.dataset.keys) {
    // So would a letter beside a slider or a button: x cuts the cell with all answers in it, 5 makes a heading of it.
    root.dataset.keys = "kept";
    root.addEventListener("keydown", (event) => {
      const plain = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
      const moves = event.key === "ArrowUp" || event.key === "ArrowDown";
      const own = event.target.matches(":read-write, select") || (moves && !event.target.closest(".rlbase-presses"));
      if ((plain || moves) && !own) event.preventDefault();
    });
    // Who clicks at what is asked about, not at a button, may answer by key as well.
    root.addEventListener("click", (event) => {
      if (!event.target.closest("button, input, select, [role=slider]"))
        root.querySelector(".rlbase-presses button")?.focus();
    });
  }
  root?.querySelectorAll(".rlbase-presses:not([data-lm-suppress-shortcuts])").forEach((row) => {
    row.setAttribute("data-lm-suppress-shortcuts", "true");
    row.addEventListener("keydown", (event) => {
      const place = { ArrowLeft: 1, ArrowRight: 2 }[event.key] ?? Number(event.key);
      const button = row.querySelectorAll("button")[place - 1];
      if (!button) return;
      event.preventDefault();
      button.focus();
      button.click();
    });
  });
  for (const [name, label] of Object.entries(labels)) {
    root?.querySelectorAll(`.${name} [role=slider]`).forEach((handle) => {
      const shown = handle.closest(".jupyter-widgets")?.querySelector(".widget-readout")?.textContent;
      handle.setAttribute("aria-label", label);
      if (shown) handle.setAttribute("aria-valuetext", shown);
    });
  }
}

function render({ model, el }) {
  const figure = document.createElement("figure");
  figure.className = "rlbase-scene";
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("role", "img");
  const caption = document.createElement("figcaption");
  caption.setAttribute("aria-live", "polite");
  figure.append(svg, caption);
  el.append(figure);
  const seen = [];

  function update() {
    const scene = JSON.parse(model.get("scene"));
    svg.setAttribute("viewBox", `0 0 ${scene.width} ${scene.height}`);
    svg.style.maxWidth = `${scene.width}px`;
    svg.setAttribute("aria-label", scene.alt);
    patch(svg, seen, scene.shapes);
    caption.style.maxWidth = `${scene.width}px`;
    if (caption.textContent !== scene.caption) caption.textContent = scene.caption;
    svg.dataset.frame = scene.frame;
    speakControls(el, model.get("labels"));
  }

  update();
  model.on("change:scene", update);
  const timer = setTimeout(() => speakControls(el, model.get("labels")), 300);
  return () => {
    clearTimeout(timer);
    model.off("change:scene", update);
  };
}

export default { render };
