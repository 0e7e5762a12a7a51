// A text with its tokens coloured, and tables.  What a model or a task wrote goes in as text, never as markup.
lab.texts = (function () {
  const { el, finite, short } = lab;
  const BELOW = "#0072B2", ABOVE = "#D55E00";
  const tint = (v, largest) => `color-mix(in srgb, ${v < 0 ? BELOW : ABOVE} ${Math.round(60 * Math.abs(v) / largest)}%, transparent)`;

  function key(figure, frame, largest) {
    const line = el("p", { class: "tokenkey" }, figure);
    [[-largest, frame.low], [largest, frame.high]].forEach(([value, word]) => {
      if (!word) return;
      const item = el("span", {}, line);
      el("i", { style: `background:${tint(value, largest)}` }, item);
      item.appendChild(document.createTextNode(`${word} (${short(value)})`));
    });
    if (frame.target) el("span", { class: "target" }, line, lab.words.target);
  }

  function tokens(figure, chart, frame, pick) {
    const values = frame.values || [], largest = values.filter(finite).map(Math.abs).reduce((a, b) => Math.max(a, b), 1e-30);
    if (frame.low || frame.high || frame.target) key(figure, frame, largest);
    const box = el("p", { class: "tokens" }, figure), axis = { control: "token" }, order = frame.tokens.map((_, i) => i);
    const live = pick.offers("x", axis), chosen = pick.chosen("x", axis, order), [from, to] = frame.target || [-1, -1];
    frame.tokens.forEach((token, i) => {
      const part = el("span", {}, box, token), v = values[i];
      if (finite(v)) { part.style.background = tint(v, largest); part.title = short(v); }
      if (i >= from && i < to) part.classList.add("target");
      if (i === chosen) part.classList.add("chosen");
      if (!live) return;
      part.classList.add("live");
      part.addEventListener("click", () => pick.choose([["x", { ...axis, values: order }, i]]));
    });
    if (frame.answers) table(figure, chart, frame.answers);
    return null;
  }

  function table(figure, chart, frame) {
    const rows = frame.rows || [], marks = frame.marks;
    const box = el("div", { class: rows.length > 24 ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": chart.title }, figure);
    const grid = el("table", {}, box), head = el("tr", {}, el("thead", {}, grid)), body = el("tbody", {}, grid);
    const numeric = frame.columns.map((_, c) => rows.some((r) => finite(r[c])) && rows.every((r) => r[c] === null || finite(r[c])));
    if (marks) el("th", { scope: "col" }, head, lab.words.equal);
    frame.columns.forEach((c, i) => el("th", { scope: "col", class: numeric[i] ? "number" : "" }, head, c));
    rows.forEach((row, r) => {
      const line = el("tr", { class: r === frame.chosen ? "chosen" : "" }, body);
      if (marks) el("td", {}, line).append(...(marks[r] ? [sign(marks[r])] : []));
      row.forEach((v, i) => el("td", { class: numeric[i] ? "number" : String(v).length > 40 ? "prose" : "" }, line, short(v)));
    });
    return null;
  }
  function sign(mark) {
    const same = mark === "same";
    return el("span", { class: `mark ${same ? "same" : "different"}` }, null, same ? `= ${lab.words.same}` : `≠ ${lab.words.different}`);
  }

  return { tokens, table };
})();
