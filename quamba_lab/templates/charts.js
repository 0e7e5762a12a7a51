// Lines, bars and heat maps as SVG.  A drawing gets (figure, chart, frame, pick): pick knows the controls of its axes.
lab.charts = (function () {
  const { el, finite, short, widthOf, nameOf, colour, scaleFor, canvas, LETTER } = lab;
  const LEFT = 78, RIGHT = 16, TOP = 12;
  const DASHES = ["none", "7 3", "2 3", "9 3 2 3"];

  function legend(figure, series) {
    if (series.length < 2) return;
    const list = el("ul", { class: "legend" }, figure);
    series.forEach((s, i) => {
      const item = el("li", {}, list);
      el("i", { style: `background:${colour(s, i)}`, class: s.low ? "band" : "" }, item);
      item.appendChild(document.createTextNode(nameOf(s)));
    });
  }

  function yAxis(svg, scale, axis, bottom, width) {
    for (const tick of scale.ticks) {
      const y = scale.map(tick);
      el("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }, svg);
      el("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, svg, short(tick));
    }
    if (axis.label) el("text", { x: 14, y: (TOP + bottom) / 2, transform: `rotate(-90 14 ${(TOP + bottom) / 2})`, "text-anchor": "middle" }, svg, axis.label);
  }

  function series(figure, chart, frame, pick, width, bars) {
    const x = frame.x || chart.x || { values: [] }, axis = frame.y || chart.y || {}, drawn = frame.series || [];
    legend(figure, drawn);
    const labels = x.values || [], numeric = !bars && labels.length > 0 && labels.every(finite);
    const slot = (width - LEFT - RIGHT) / Math.max(1, labels.length), bottom = 290;
    if (bars && lab.turned(labels, slot) && Math.max(...labels.map(widthOf)) > 13) return lying(figure, chart, x, axis, drawn, pick, width);
    const height = bottom + (numeric ? 24 : lab.bottomRoom(labels, slot)) + (x.label ? 24 : 6);
    const svg = canvas(figure, width, height, chart.title);
    const all = drawn.flatMap((s) => [...(s.values || []), ...(s.low || []), ...(s.high || [])]);
    const y = scaleFor(bars && axis.scale === "log" ? [...all, ...all.filter((v) => v > 0).map((v) => v / 3)] : all, axis.scale === "log", bottom, TOP, bars);
    yAxis(svg, y, axis, bottom, width);
    const xs = numeric ? scaleFor(labels, x.scale === "log", LEFT + 8, width - RIGHT - 8) : null;
    const at = (i) => (numeric ? xs.map(labels[i]) : LEFT + slot * (i + 0.5));
    const chosen = pick.chosen("x", x, labels);
    if (chosen >= 0) el("line", { x1: at(chosen), x2: at(chosen), y1: TOP, y2: bottom, class: "here" }, svg);
    el("line", { x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom, class: "axis" }, svg);
    if (numeric) {
      const room = Math.max(2, Math.floor(width / 90)), whole = labels.every(Number.isInteger);
      const ticks = xs.ticks.filter((t) => !whole || Number.isInteger(t));
      ticks.filter((_, i) => i % Math.ceil(ticks.length / room) === 0).forEach((tick) => el("text", { x: xs.map(tick), y: bottom + 18, "text-anchor": "middle" }, svg, short(tick)));
    } else lab.bottomLabels(svg, labels, at, slot, bottom);
    if (x.label) el("text", { x: (LEFT + width - RIGHT) / 2, y: height - 5, "text-anchor": "middle" }, svg, x.label);
    drawn.forEach((s, i) => s.low && band(svg, s, colour(s, i), at, y)); // bands first: a line is never hidden by one
    drawn.forEach((s, i) => s.values && (bars ? rectangles : curve)(svg, s, i, { drawn, labels, slot, at, y, x, axis, bottom }));
    if (pick.offers("x", x)) labels.forEach((label, i) => {
      const half = numeric ? (width - LEFT - RIGHT) / Math.max(1, labels.length) / 2 : slot / 2;
      const area = el("rect", { x: at(i) - half, y: TOP, width: 2 * half, height: bottom - TOP, class: "area" }, svg);
      el("title", {}, area, [`${x.label || ""} ${short(label)}`, ...drawn.filter((s) => s.values).map((s) => `${nameOf(s)}: ${short(s.values[i])}`)].join("\n"));
      area.addEventListener("click", () => pick.choose([["x", x, i]]));
    });
    return svg;
  }

  function band(svg, s, fill, at, y) {
    const there = s.high.map((v, i) => i).filter((i) => finite(s.high[i]) && finite(s.low[i]));
    if (!there.length) return;
    const d = there.map((i, k) => `${k ? "L" : "M"}${at(i)},${y.map(s.high[i])}`).join("") + there.reverse().map((i) => `L${at(i)},${y.map(s.low[i])}`).join("") + "Z";
    el("path", { d, fill, opacity: s.name === "floor" || s.name === "bound" ? 0.4 : 0.18 }, svg);
  }

  // On a logarithmic axis a bar needs some length for the smallest value, and none for zero.
  function rectangles(svg, s, index, { drawn, labels, slot, at, y, axis, bottom }) {
    const both = drawn.filter((t) => t.values), width = Math.min(44, slot * 0.8 / both.length), k = both.indexOf(s);
    s.values.forEach((v, i) => {
      if (!finite(v) || (axis.scale === "log" && v <= 0)) return;
      const base = axis.scale === "log" ? bottom : y.map(0), top = y.map(v);
      const bar = el("rect", { x: at(i) + (k - both.length / 2) * width, width: Math.max(1, width - 2), y: Math.min(top, base), height: Math.max(1, Math.abs(base - top)), fill: colour(s, index), rx: 2 }, svg);
      el("title", {}, bar, `${nameOf(s)} ${short(labels[i])}: ${short(v)}`);
    });
  }

  // Bars along the line, for labels that cannot stand side by side: beside their bars, or above them on a narrow page.
  function lying(figure, chart, x, axis, drawn, pick, width) {
    const labels = x.values, both = drawn.filter((s) => s.values), longest = Math.max(...labels.map(widthOf)) * LETTER + 14;
    const beside = longest < 0.5 * width, left = beside ? Math.max(longest, 60) : 8, right = 24;
    const lines = labels.map((label) => beside ? [short(label)] : lab.wrapped(short(label), (width - left - right) / LETTER));
    const above = beside ? 0 : 17, thick = Math.max(8, Math.min(18, 30 / both.length));
    const tops = [];
    let bottom = TOP;
    lines.forEach((words) => { tops.push(bottom + above * words.length); bottom += above * words.length + thick * both.length + 10; });
    const height = bottom + 24 + (axis.label ? 24 : 6), svg = canvas(figure, width, height, chart.title), log = axis.scale === "log";
    const all = both.flatMap((s) => s.values);
    const scale = scaleFor(log ? [...all, ...all.filter((v) => v > 0).map((v) => v / 3)] : all, log, left, width - right, true);
    const room = Math.max(2, Math.floor((width - left) / 70)), every = Math.ceil(scale.ticks.length / room);
    scale.ticks.forEach((tick, i) => {
      el("line", { x1: scale.map(tick), x2: scale.map(tick), y1: TOP, y2: bottom, class: "grid" }, svg);
      if (i % every === 0) el("text", { x: scale.map(tick), y: bottom + 18, "text-anchor": scale.map(tick) < 24 ? "start" : "middle" }, svg, short(tick));
    });
    const zero = log ? left : scale.map(0);
    el("line", { x1: zero, x2: zero, y1: TOP, y2: bottom, class: "axis" }, svg);
    labels.forEach((label, i) => {
      if (beside) el("text", { x: left - 8, y: tops[i] + thick * both.length / 2 + 4, "text-anchor": "end" }, svg, short(label));
      else lines[i].forEach((line, k) => el("text", { x: left, y: tops[i] - 5 - above * (lines[i].length - 1 - k) }, svg, line));
      both.forEach((s, k) => {
        const v = s.values[i];
        if (!finite(v) || (log && v <= 0)) return;
        const end = scale.map(v);
        const bar = el("rect", { x: Math.min(zero, end), width: Math.max(1, Math.abs(end - zero)), y: tops[i] + k * thick, height: thick - 2, fill: colour(s, drawn.indexOf(s)), rx: 2 }, svg);
        el("title", {}, bar, `${nameOf(s)} ${short(label)}: ${short(v)}`);
      });
      if (!pick.offers("x", x)) return;
      const area = el("rect", { x: 0, y: tops[i] - above * lines[i].length, width, height: thick * both.length + above * lines[i].length, class: "area" }, svg);
      area.addEventListener("click", () => pick.choose([["x", x, i]]));
    });
    const chosen = pick.chosen("x", x, labels);
    if (chosen >= 0) el("rect", { x: 1, y: tops[chosen] - 3, width: width - 2, height: thick * both.length + 4, class: "chosen" }, svg);
    if (axis.label) el("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, svg, axis.label);
    return svg;
  }

  function curve(svg, s, index, { labels, at, y, x }) {
    let d = "", open = false;
    s.values.forEach((v, i) => { if (finite(v)) { d += `${open ? "L" : "M"}${at(i)},${y.map(v)}`; open = true; } else open = false; });
    el("path", { d, fill: "none", stroke: colour(s, index), "stroke-width": 2, "stroke-linejoin": "round", "stroke-dasharray": DASHES[index % 4] }, svg);
    if (labels.length <= 200) s.values.forEach((v, i) => {
      if (!finite(v)) return;
      const point = el("circle", { cx: at(i), cy: y.map(v), r: labels.length > 60 ? 1.6 : 3, fill: colour(s, index) }, svg);
      el("title", {}, point, `${nameOf(s)}, ${x.label || ""} ${short(labels[i])}: ${short(v)}`);
    });
  }

  // A single-hue ramp of even lightness steps, light for small; it reads in grey and for every kind of colour vision.
  const RAMP = [[240, 244, 248], [199, 217, 232], [141, 183, 214], [74, 141, 190], [29, 95, 150], [10, 50, 98]];
  function ramp(t) {
    const p = Math.min(0.9999, Math.max(0, t)) * (RAMP.length - 1), i = Math.floor(p), f = p - i;
    return `rgb(${RAMP[i].map((v, k) => Math.round(v + f * (RAMP[i + 1][k] - v))).join(",")})`;
  }

  function heatmap(figure, chart, frame, pick, width) {
    const x = frame.x || chart.x || { values: [] }, y = frame.y || chart.y || { values: [] }, rows = frame.rows || [];
    const columns = Math.max(1, ...rows.map((r) => r.length)), names = x.values || [], labels = y.values || rows.map((_, i) => i);
    const left = Math.min(190, 34 + 7.2 * Math.max(0, ...labels.map(widthOf))), wide = (width - left - RIGHT) / columns;
    const tall = Math.max(18, Math.min(34, 300 / Math.max(1, rows.length))), bottom = TOP + tall * rows.length;
    const below = lab.bottomRoom(names, wide), height = bottom + below + 62;
    const svg = canvas(figure, width, height, chart.title), log = (frame.scale || chart.scale) === "log";
    const values = rows.flat().filter((v) => finite(v) && (!log || v > 0));
    const low = values.length ? values.reduce((a, b) => Math.min(a, b)) : log ? 0.1 : 0, high = values.length ? values.reduce((a, b) => Math.max(a, b)) : 1;
    const t = (v) => high === low ? (v > 0 ? 0.5 : 0) : log ? (v > 0 ? 0.06 + 0.94 * Math.log(v / low) / Math.log(high / low) : 0) : (v - low) / (high - low);
    rows.forEach((row, r) => row.forEach((v, c) => {
      const cell = el("rect", { x: left + c * wide, y: TOP + r * tall, width: wide + 0.3, height: tall + 0.3, fill: finite(v) ? ramp(t(v)) : "var(--none)", class: pick.offers("x", x) || pick.offers("y", y) ? "cell live" : "cell" }, svg);
      el("title", {}, cell, `${y.label || ""} ${short(labels[r])}, ${x.label || ""} ${short(names[c])}: ${short(v) || "–"}`);
      cell.addEventListener("click", () => pick.choose([["x", x, c], ["y", y, r]]));
    }));
    const column = pick.chosen("x", x, names), row = pick.chosen("y", y, labels);
    if (column >= 0 || row >= 0) el("rect", {
      x: left + (column < 0 ? 0 : column * wide), y: TOP + (row < 0 ? 0 : row * tall),
      width: column < 0 ? wide * columns : wide, height: row < 0 ? bottom - TOP : tall, class: "chosen",
    }, svg);
    labels.forEach((label, r) => el("text", { x: left - 8, y: TOP + (r + 0.5) * tall + 4, "text-anchor": "end" }, svg, short(label)));
    lab.bottomLabels(svg, names, (c) => left + (c + 0.5) * wide, wide, bottom);
    if (x.label) el("text", { x: (left + width - RIGHT) / 2, y: bottom + below + 14, "text-anchor": "middle" }, svg, x.label);
    if (y.label) el("text", { x: 14, y: (TOP + bottom) / 2, transform: `rotate(-90 14 ${(TOP + bottom) / 2})`, "text-anchor": "middle" }, svg, y.label);
    const bar = bottom + below + 32, ramped = Math.max(left, 70), most = short(high) + (log ? ` (${lab.words.log})` : "");
    const only = high === low, step = Math.min(3, (width - RIGHT - ramped - 8 - LETTER * widthOf(most)) / 60);
    // One value has one colour: a ramp from it to itself would say nothing.
    for (let i = 0; i < (only ? 5 : 60); i++) el("rect", { x: ramped + i * step, y: bar, width: step + 0.2, height: 10, fill: ramp(only ? t(low) : i / 59) }, svg);
    if (!only) el("text", { x: ramped - 6, y: bar + 10, "text-anchor": "end" }, svg, short(low));
    el("text", { x: ramped + (only ? 5 : 60) * step + 8, y: bar + 10 }, svg, only ? short(low) : most);
    return svg;
  }

  return {
    lines: (figure, chart, frame, pick, width) => series(figure, chart, frame, pick, width, false),
    bars: (figure, chart, frame, pick, width) => series(figure, chart, frame, pick, width, true),
    heatmap,
  };
})();
