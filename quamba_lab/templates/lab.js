"use strict";
// What every drawing uses: words, colours, numbers as text, scales and axes.
const lab = (function () {
  const NS = "http://www.w3.org/2000/svg";
  const SVG = new Set(["svg", "g", "path", "line", "rect", "text", "circle", "title"]);
  const words = JSON.parse(document.getElementById("words").textContent);
  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7f7f7f", "#8c6d31"];
  document.documentElement.classList.add("js");

  function el(name, attributes, parent, text) {
    const node = SVG.has(name) ? document.createElementNS(NS, name) : document.createElement(name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  const finite = (v) => typeof v === "number" && isFinite(v);
  function short(v) {
    if (typeof v === "boolean") return words[v];
    if (typeof v !== "number") return v === null || v === undefined ? "" : String(v);
    if (v === 0) return "0";
    const size = Math.abs(v);
    if (size >= 1e5 || size < 1e-3) return v.toExponential(1).replace("e+", "e").replace(".0e", "e");
    return String(Number(v.toPrecision(4)));
  }
  const nameOf = (series) => (series.label === undefined ? series.name : series.label);
  function colour(series, index) {
    if (series.name === "floor" || series.name === "bound") return "var(--floor)";
    const known = words.colours[series.mode === undefined ? series.name : series.mode];
    return known === "#000000" ? "var(--ink)" : known || PALETTE[index % PALETTE.length];
  }

  function scaleFor(values, log, from, to, zero) {
    let usable = values.filter(finite);
    if (log) usable = usable.filter((v) => v > 0);
    if (!usable.length) usable = log ? [0.1, 1] : [0, 1];
    let low = usable.reduce((a, b) => Math.min(a, b)), high = usable.reduce((a, b) => Math.max(a, b));
    if (log) {
      low = Math.floor(Math.log10(low)); high = Math.ceil(Math.log10(high));
      if (low === high) high += 1;
      const step = Math.max(1, Math.ceil((high - low) / 6)), ticks = [];
      for (let t = low; t <= high; t += step) ticks.push(Math.pow(10, t));
      // Exact zeros stand on the floor of a logarithmic axis.
      return { map: (v) => from + (to - from) * ((v > 0 ? Math.log10(v) : low) - low) / (high - low), ticks };
    }
    if (zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
    if (low === high) { low -= Math.abs(low) * 0.1 || 1; high += Math.abs(high) * 0.1 || 1; }
    const raw = (high - low) / 5, power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw), ticks = [];
    for (let t = Math.ceil(low / step); t * step <= high + step * 1e-9; t++) ticks.push(Number((t * step).toPrecision(12)));
    return { map: (v) => from + (to - from) * (v - low) / (high - low), ticks };
  }

  // One unit of a drawing is one pixel of the page, so that text keeps its size on a phone.
  function canvas(figure, width, height, title) {
    return el("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", preserveAspectRatio: "xMinYMin meet", role: "img", "aria-label": title }, figure);
  }

  // Labels along the bottom: turned where they would touch, some left out where even that is too tight.
  const LETTER = 7.2;
  // Letters that a text takes the room of; a Chinese character takes that of about two.
  const widthOf = (v) => [...short(v)].reduce((sum, letter) => sum + (letter > "\u2e7f" ? 1.75 : 1), 0);
  function turned(names, slot) {
    const longest = Math.max(0, ...names.map(widthOf));
    return longest * LETTER + 8 > slot && longest > 4;
  }
  function bottomLabels(svg, names, at, slot, y) {
    const longest = Math.max(0, ...names.map(widthOf)), aslant = turned(names, slot);
    const every = Math.max(1, Math.ceil((aslant ? 15 : longest * LETTER + 8) / slot));
    names.forEach((name, i) => {
      if (i % every) return;
      el("text", aslant ? { x: at(i) + 4, y: y + 13, transform: `rotate(-40 ${at(i) + 4} ${y + 13})`, "text-anchor": "end" }
        : { x: at(i), y: y + 17, "text-anchor": "middle" }, svg, short(name));
    });
  }
  function bottomRoom(names, slot) {
    const longest = Math.max(0, ...names.map(widthOf));
    return turned(names, slot) ? Math.min(150, longest * 5 + 20) : 24;
  }
  // A text in lines of at most so many letters; what has no spaces breaks between Chinese characters.
  function wrapped(text, most) {
    const lines = [""];
    for (const word of text.match(/[\u2e80-\uffff]|[^\s\u2e80-\uffff]+\s*|\s+/g) || []) {
      if (lines[lines.length - 1] && widthOf(lines[lines.length - 1] + word.trimEnd()) > most) lines.push("");
      lines[lines.length - 1] += word;
    }
    return lines;
  }

  // Text whose numbers and names of modes no line breaks apart, as quamba_lab/report/unbroken.py does for the page.
  const HYPHENATED = /(?<![\w.-])(-?\d+(?:\.\d+)?e-\d+|[0-3]-[0-4])(?![\w-]|\.\d)/;
  function write(parent, text) {
    text.replace(/(\d) %/g, "$1\u00a0%").replace(/\b([a-zA-Z]) = (?=-?\d)/g, "$1\u00a0=\u00a0").split(HYPHENATED).forEach((part, i) => {
      if (i % 2) el("span", { class: "whole" }, parent, part);
      else if (part) parent.appendChild(document.createTextNode(part));
    });
  }

  return { NS, LETTER, words, el, finite, short, widthOf, nameOf, colour, scaleFor, canvas, turned, bottomLabels, bottomRoom, wrapped, write };
})();
