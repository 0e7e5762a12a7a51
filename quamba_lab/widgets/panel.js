// A card: shows the HTML it is given, tells the kernel what was clicked or reached with the arrow keys, and whether
// the card is in sight.  It draws nothing by itself and requests nothing.
function limit(value, low, high) { return Math.min(high, Math.max(low, value)); }

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "ql-box";
  el.appendChild(box);

  const choose = (choice) => model.send({ type: "choose", choice });
  const show = () => {
    const active = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const scrolled = [...box.querySelectorAll(".ql-scroll")].map((node) => [node.scrollLeft, node.scrollTop]);
    box.innerHTML = model.get("html");
    box.querySelectorAll(".ql-scroll").forEach((node, i) => {
      if (scrolled[i]) [node.scrollLeft, node.scrollTop] = scrolled[i];
    });
    if (active) box.querySelector(`[data-key="${active}"]`)?.focus({ preventScroll: true });
  };
  const fade = () => box.classList.toggle("ql-stale", model.get("stale"));
  model.on("change:html", show);
  model.on("change:stale", fade);
  show();
  fade();

  // A picture carries its axes: data-box (shares of its size), data-x and data-y (the control and its values).
  const axis = (node, name) => (node.dataset[name] ? JSON.parse(node.dataset[name]) : null);
  box.addEventListener("click", (event) => {
    const word = event.target.closest("[data-choose]");
    if (word) return choose(JSON.parse(word.dataset.choose));
    const picture = event.target.closest("[data-box]");
    if (!picture) return;
    const [left, top, width, height] = JSON.parse(picture.dataset.box), area = picture.getBoundingClientRect();
    const at = [
      ((event.clientX - area.left) / area.width - left) / width, ((event.clientY - area.top) / area.height - top) / height,
    ];
    if (at.some((share) => share < 0 || share > 1)) return;
    const choice = {};
    ["x", "y"].forEach((name, i) => {
      const values = axis(picture, name);
      if (!values) return;
      const wanted = values.low + at[i] * (values.high - values.low);
      const far = values.places.map((place) => Math.abs(place - wanted));
      choice[values.control] = values.options[far.indexOf(Math.min(...far))];
    });
    choose(choice);
  });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: ["x", 1], ArrowLeft: ["x", -1], ArrowDown: ["y", 1], ArrowUp: ["y", -1] }[event.key];
    const place = event.target.closest("[data-key]");
    if (!step || !place) return;
    const values = axis(place, step[0]);
    if (!values) return;
    event.preventDefault();
    const next = limit(values.options.indexOf(values.chosen) + step[1], 0, values.options.length - 1);
    choose({ [values.control]: values.options[next] });
  });

  const seen = new IntersectionObserver((entries) => {
    model.send({ type: "visible", visible: entries[entries.length - 1].isIntersecting });
  }, { rootMargin: "200px" });
  seen.observe(box);
  return () => seen.disconnect();
}

export default { render };
