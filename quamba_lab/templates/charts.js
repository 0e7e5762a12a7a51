"use strict";
// The interactive views: plain controls over the data in the page.  Choices hold across views and pages.
(function () {
  const NS = "http://www.w3.org/2000/svg";
  const words = JSON.parse(document.getElementById("words").textContent);
  const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7f7f7f", "#8c6d31"];
  const choices = {};
  const views = [];
  document.documentElement.classList.add("js");
  try { Object.assign(choices, JSON.parse(sessionStorage.getItem("choices") || "{}")); } catch (error) { /* private window */ }

  function el(name, attributes, parent, text) {
    const svg = ["svg", "g", "path", "line", "rect", "text", "circle", "title"].includes(name);
    const node = svg ? document.createElementNS(NS, name) : document.createElement(name);
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
  function colour(name, index) {
    if (name === "floor" || name === "bound") return "var(--floor)";
    const known = words.colours[name];
    return known === "#000000" ? "var(--ink)" : known || PALETTE[index % PALETTE.length];
  }

  function scaleFor(values, log, from, to, zero) {
    let usable = values.filter(finite);
    if (log) usable = usable.filter((v) => v > 0);
    if (!usable.length) usable = log ? [0.1, 1] : [0, 1];
    let low = Math.min(...usable), high = Math.max(...usable);
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
  let W = 760;
  const LEFT = 74, RIGHT = 16, TOP = 10;
  function canvas(figure, height, title) {
    const svg = el("svg", { viewBox: `0 0 ${W} ${height}`, class: "chart", role: "img", "aria-label": title }, figure);
    return svg;
  }
  function yAxis(svg, scale, axis, bottom) {
    for (const tick of scale.ticks) {
      const y = scale.map(tick);
      el("line", { x1: LEFT, x2: W - RIGHT, y1: y, y2: y, class: "grid" }, svg);
      el("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, svg, short(tick));
    }
    if (axis.label) el("text", { x: 14, y: (TOP + bottom) / 2, transform: `rotate(-90 14 ${(TOP + bottom) / 2})`, "text-anchor": "middle" }, svg, axis.label);
  }
  function legend(figure, series) {
    if (series.length < 2) return;
    const list = el("ul", { class: "legend" });
    series.forEach((s, i) => {
      const item = el("li", {}, list);
      el("i", { style: `background:${colour(s.name, i)}`, class: s.low ? "band" : "" }, item);
      item.appendChild(document.createTextNode(s.name));
    });
    figure.appendChild(list);
  }

  function drawSeries(figure, chart, frame, kind) {
    const x = frame.x || chart.x || { values: [] }, yAxisData = frame.y || chart.y || {};
    const series = frame.series || [];
    legend(figure, series);
    const labels = x.values || [], numeric = kind === "lines" && labels.length > 0 && labels.every(finite);
    const longest = Math.max(0, ...labels.map((l) => short(l).length)), room = Math.max(2, Math.floor(W / 90));
    const turned = !numeric && (longest * 6.5 > (W - LEFT - RIGHT) / Math.max(1, labels.length));
    const below = (turned ? Math.min(150, longest * 5 + 20) : 26) + (x.label ? 20 : 4), bottom = 300, height = bottom + below;
    const svg = canvas(figure, height, chart.title);
    const all = series.flatMap((s) => [...(s.values || []), ...(s.low || []), ...(s.high || [])]);
    const y = scaleFor(all, yAxisData.scale === "log", bottom, TOP, kind === "bars");
    yAxis(svg, y, yAxisData, bottom);
    const xs = numeric ? scaleFor(labels, x.scale === "log", LEFT + 8, W - RIGHT - 8) : null;
    const slot = (W - LEFT - RIGHT) / Math.max(1, labels.length);
    const at = (i) => (numeric ? xs.map(labels[i]) : LEFT + slot * (i + 0.5));
    el("line", { x1: LEFT, x2: W - RIGHT, y1: bottom, y2: bottom, class: "axis" }, svg);
    if (numeric) for (const tick of xs.ticks.filter((_, i) => i % Math.ceil(xs.ticks.length / room) === 0)) el("text", { x: xs.map(tick), y: bottom + 18, "text-anchor": "middle" }, svg, short(tick));
    else {
      const every = turned ? Math.max(1, Math.ceil(14 / slot)) : 1;
      labels.forEach((label, i) => {
        if (i % every) return;
        const a = turned ? { x: at(i) + 4, y: bottom + 14, transform: `rotate(-40 ${at(i) + 4} ${bottom + 14})`, "text-anchor": "end" } : { x: at(i), y: bottom + 18, "text-anchor": "middle" };
        el("text", a, svg, short(label));
      });
    }
    if (x.label) el("text", { x: (LEFT + W - RIGHT) / 2, y: height - 4, "text-anchor": "middle" }, svg, x.label);
    // Bands first: a line is never hidden by one.
    series.forEach((s, index) => {
      const c = colour(s.name, index);
      if (s.low) {
        const path = s.high.map((v, i) => `${i ? "L" : "M"}${at(i)},${y.map(v)}`).join("") + s.low.map((v, i) => [at(i), y.map(v)]).reverse().map((p) => `L${p[0]},${p[1]}`).join("") + "Z";
        el("path", { d: path, fill: c, opacity: s.name === "floor" || s.name === "bound" ? 0.4 : 0.18 }, svg);
      }
    });
    series.forEach((s, index) => {
      if (!s.values) return;
      const c = colour(s.name, index);
      if (kind === "bars") {
        const drawn = series.filter((t) => t.values), width = Math.min(44, slot * 0.8 / drawn.length), k = drawn.indexOf(s);
        s.values.forEach((v, i) => {
          if (!finite(v)) return;
          const base = yAxisData.scale === "log" ? bottom : y.map(0), top = y.map(v);
          const bar = el("rect", { x: at(i) + (k - drawn.length / 2) * width, width: Math.max(1, width - 2), y: Math.min(top, base), height: Math.max(1, Math.abs(base - top)), fill: c, rx: 2 }, svg);
          el("title", {}, bar, `${s.name} ${short(labels[i])}: ${short(v)}`);
        });
        return;
      }
      let d = "", open = false;
      s.values.forEach((v, i) => { if (finite(v)) { d += `${open ? "L" : "M"}${at(i)},${y.map(v)}`; open = true; } else open = false; });
      el("path", { d, fill: "none", stroke: c, "stroke-width": 2, "stroke-linejoin": "round", "stroke-dasharray": ["none", "7 3", "2 3", "9 3 2 3"][index % 4] }, svg);
      if (labels.length <= 200) s.values.forEach((v, i) => {
        if (!finite(v)) return;
        const point = el("circle", { cx: at(i), cy: y.map(v), r: labels.length > 60 ? 1.6 : 3, fill: c }, svg);
        el("title", {}, point, `${s.name}, ${x.label || ""} ${short(labels[i])}: ${short(v)}`);
      });
    });
    return svg;
  }

  // A single-hue ramp of even lightness steps, light for small; it reads in grey and for every kind of colour vision.
  const RAMP = [[240, 244, 248], [199, 217, 232], [141, 183, 214], [74, 141, 190], [29, 95, 150], [10, 50, 98]];
  function ramp(t) {
    const p = Math.min(0.9999, Math.max(0, t)) * (RAMP.length - 1), i = Math.floor(p), f = p - i;
    return `rgb(${RAMP[i].map((v, k) => Math.round(v + f * (RAMP[i + 1][k] - v))).join(",")})`;
  }
  function drawHeatmap(figure, chart, frame, view) {
    const x = frame.x || chart.x || { values: [] }, yAxisData = frame.y || chart.y || { values: [] }, rows = frame.rows || [];
    const columns = Math.max(1, ...rows.map((r) => r.length)), labels = yAxisData.values || rows.map((_, i) => i);
    const left = Math.min(190, 30 + 6.6 * Math.max(0, ...labels.map((l) => short(l).length))), wide = (W - left - RIGHT) / columns;
    const names = x.values || [], longest = Math.max(0, ...names.map((l) => short(l).length)), turned = longest * 6.6 > wide;
    const tall = Math.max(16, Math.min(34, 300 / Math.max(1, rows.length))), bottom = TOP + tall * rows.length;
    const below = (turned ? Math.min(120, longest * 5 + 18) : 22), height = bottom + below + 52;
    const svg = canvas(figure, height, chart.title), log = (frame.scale || chart.scale) === "log";
    const values = rows.flat().filter((v) => finite(v) && (!log || v > 0));
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) { low = log ? 0.1 : 0; high = 1; }
    const t = (v) => high === low ? 0.5 : log ? (v > 0 ? 0.06 + 0.94 * Math.log(v / low) / Math.log(high / low) : 0) : (v - low) / (high - low);
    const controls = Object.fromEntries(view.data.controls.map((c) => [c.name, c]));
    const xControl = controls[(x.label || "").toLowerCase()], yControl = controls[(yAxisData.label || "").toLowerCase()];
    rows.forEach((row, r) => row.forEach((v, c) => {
      const cell = el("rect", { x: left + c * wide, y: TOP + r * tall, width: wide + 0.3, height: tall + 0.3, fill: finite(v) ? ramp(t(v)) : "var(--grid)", class: "cell" }, svg);
      el("title", {}, cell, `${yAxisData.label || ""} ${short(labels[r])}, ${x.label || ""} ${short(names[c])}: ${short(v) || "–"}`);
      cell.addEventListener("click", () => {
        if (xControl) choose(xControl.name, names[c]);
        if (yControl) choose(yControl.name, labels[r]);
        refresh();
      });
      const chosen = (!xControl || String(choices[xControl.name]) === String(names[c])) && (!yControl || String(choices[yControl.name]) === String(labels[r]));
      if ((xControl || yControl) && chosen && xControl) view.mark = [left + c * wide, TOP + r * tall, wide, tall];
    }));
    if (view.mark) { const [a, b, w, h] = view.mark; el("rect", { x: a, y: b, width: w, height: h, class: "chosen" }, svg); view.mark = null; }
    labels.forEach((label, r) => el("text", { x: left - 8, y: TOP + (r + 0.5) * tall + 4, "text-anchor": "end" }, svg, short(label)));
    const every = Math.max(1, Math.ceil((turned ? 14 : longest * 6.6 + 6) / wide));
    names.forEach((label, c) => {
      if (c % every) return;
      const px = left + (c + 0.5) * wide;
      el("text", turned ? { x: px + 4, y: bottom + 13, transform: `rotate(-40 ${px + 4} ${bottom + 13})`, "text-anchor": "end" } : { x: px, y: bottom + 16, "text-anchor": "middle" }, svg, short(label));
    });
    if (x.label) el("text", { x: (left + W - RIGHT) / 2, y: bottom + below + 14, "text-anchor": "middle" }, svg, x.label);
    if (yAxisData.label) el("text", { x: 0, y: bottom + below + 14 }, svg, "↑ " + yAxisData.label);
    const bar = bottom + below + 28, ramped = Math.max(left, 70);
    for (let i = 0; i < 60; i++) el("rect", { x: ramped + i * 3, y: bar, width: 3.2, height: 9, fill: ramp(i / 59) }, svg);
    el("text", { x: ramped - 6, y: bar + 9, "text-anchor": "end" }, svg, short(low));
    el("text", { x: ramped + 188, y: bar + 9 }, svg, short(high) + (log ? " (log scale)" : ""));
    return svg;
  }

  function drawTokens(figure, chart, frame, view) {
    const box = el("p", { class: "tokens" }, figure), values = frame.values || [];
    const largest = Math.max(1e-30, ...values.filter(finite).map(Math.abs));
    const named = view.data.controls.find((c) => c.name === "token");
    frame.tokens.forEach((token, i) => {
      const v = values[i], part = el("span", {}, box, token);
      if (finite(v)) {
        const share = Math.round(60 * Math.abs(v) / largest);
        part.style.background = `color-mix(in srgb, ${v < 0 ? "#0072B2" : "#D55E00"} ${share}%, transparent)`;
        part.title = short(v);
      }
      if (named) {
        if (String(choices.token) === String(i)) part.className = "chosen";
        part.addEventListener("click", () => { choose("token", i); refresh(); });
      }
    });
    return null;
  }

  function drawTable(figure, chart, frame) {
    const box = el("div", { class: frame.rows.length > 15 ? "scroll tall" : "scroll", tabindex: "0" }, figure), table = el("table", {}, box);
    const head = el("tr", {}, el("thead", {}, table));
    frame.columns.forEach((c, i) => el("th", { scope: "col", class: frame.rows.length && finite(frame.rows[0][i]) ? "number" : "" }, head, c));
    const body = el("tbody", {}, table);
    frame.rows.forEach((row) => { const line = el("tr", {}, body); row.forEach((v) => el("td", { class: finite(v) ? "number" : "" }, line, short(v))); });
    return null;
  }

  function rowsOf(chart, frame) {
    const x = (frame.x || chart.x || {}), y = (frame.y || chart.y || {});
    if (chart.kind === "table") return [frame.columns, ...frame.rows];
    if (chart.kind === "tokens") return [["token", "value"], ...frame.tokens.map((t, i) => [t, (frame.values || [])[i]])];
    if (chart.kind === "heatmap") return [[y.label || "", ...(x.values || [])], ...frame.rows.map((r, i) => [(y.values || [])[i], ...r])];
    const columns = (frame.series || []).flatMap((s) => [s.values && [s.name, s.values], s.low && [s.name + " low", s.low], s.high && [s.name + " high", s.high]].filter(Boolean));
    return [[x.label || "x", ...columns.map((c) => c[0])], ...(x.values || []).map((v, i) => [v, ...columns.map((c) => c[1][i])])];
  }
  function csv(rows) {
    return rows.map((r) => r.map((v) => { const s = v === null || v === undefined ? "" : String(v); return /[",\n]/.test(s) ? `"${s.replace(/"/g, '""')}"` : s; }).join(",")).join("\n") + "\n";
  }
  function standalone(svg) {
    const copy = svg.cloneNode(true), style = getComputedStyle(document.documentElement), css = {};
    for (const name of ["--paper", "--ink", "--soft", "--line", "--grid", "--floor"]) css[name] = style.getPropertyValue(name).trim();
    copy.setAttribute("xmlns", NS);
    const rule = document.createElementNS(NS, "style");
    rule.textContent = `svg{background:${css["--paper"]};font:12px sans-serif}text{fill:${css["--soft"]}}.axis{stroke:${css["--line"]}}.grid{stroke:${css["--grid"]}}.chosen{fill:none;stroke:${css["--ink"]};stroke-width:2}`;
    copy.prepend(rule);
    return copy.outerHTML.replace(/var\((--[a-z]+)\)/g, (_, name) => css[name]);
  }
  function link(parent, text, name, type, content) {
    const a = el("a", { href: "#", download: name }, parent, text);
    a.addEventListener("click", () => {
      a.href = URL.createObjectURL(new Blob([content()], { type }));
      setTimeout(() => URL.revokeObjectURL(a.href), 10000);
    });
  }

  const DRAW = { lines: (f, c, d) => drawSeries(f, c, d, "lines"), bars: (f, c, d) => drawSeries(f, c, d, "bars"), heatmap: drawHeatmap, tokens: drawTokens, table: drawTable };
  function draw(view) {
    view.charts.textContent = "";
    W = Math.max(300, Math.min(860, view.charts.clientWidth - 36));
    for (const chart of view.data.charts) {
      const key = chart.depends.map((name) => String(view.value(name))).join("|");
      const figure = el("figure", { "data-chart": chart.name, "data-frame": key }, view.charts);
      el("h4", {}, figure, chart.title);
      const frame = chart.frames[key];
      if (!frame) { el("figcaption", {}, figure, `– (${key})`); continue; }
      const svg = DRAW[chart.kind](figure, chart, frame, view);
      const caption = el("figcaption", {}, figure, [frame.alt || (key === view.firstKey[chart.name] ? chart.alt : ""), frame.note].filter(Boolean).join(" "));
      if (svg && caption.textContent) svg.setAttribute("aria-label", `${chart.title}. ${caption.textContent}`);
      const tools = el("span", { class: "tools" }, caption);
      if (svg) link(tools, words.svg, chart.name + ".svg", "image/svg+xml", () => standalone(svg));
      link(tools, words.csv, chart.name + ".csv", "text/csv", () => csv(rowsOf(chart, frame)));
    }
  }

  function choose(name, value) { choices[name] = value; }
  function refresh() {
    for (const view of views) { view.adopt(); draw(view); }
    try { sessionStorage.setItem("choices", JSON.stringify(choices)); } catch (error) { /* private window */ }
  }

  document.querySelectorAll(".views").forEach((section) => {
    const data = JSON.parse(section.querySelector(".view-data").textContent);
    const controls = Object.fromEntries(data.controls.map((c) => [c.name, c]));
    const view = { data, charts: section.querySelector(".charts.js-only"), firstKey: {} };
    // A choice made elsewhere holds where it is offered; where it is not, this view keeps its own default.
    view.value = (name) => {
      const c = controls[name], wanted = String(choices[name]);
      const found = c.options.find((o) => String(o) === wanted);
      return found === undefined ? c.default : found;
    };
    view.adopt = () => section.querySelectorAll("[data-control]").forEach((input) => {
      const c = controls[input.dataset.control], value = view.value(c.name), index = c.options.findIndex((o) => String(o) === String(value));
      if (input.tagName === "SELECT") input.selectedIndex = index;
      else { input.value = index; input.setAttribute("aria-valuetext", value); input.nextElementSibling.textContent = value; }
    });
    data.charts.forEach((chart) => { view.firstKey[chart.name] = chart.depends.map((name) => String(controls[name].default)).join("|"); });
    section.querySelectorAll("[data-control]").forEach((input) => input.addEventListener("input", () => {
      const c = controls[input.dataset.control];
      choose(c.name, c.options[input.tagName === "SELECT" ? input.selectedIndex : Number(input.value)]);
      refresh();
    }));
    views.push(view);
  });
  // A picture is in the page once; its link takes it from there.
  document.querySelectorAll("a.picture-link").forEach((a) => { a.href = a.closest("figure").querySelector("img").src; });
  refresh();
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; refresh(); } });
})();
