// The interactive views: plain controls over the data in the page.  Choices hold across views and pages.
(function () {
  const { el, words } = lab;
  const DRAW = { ...lab.charts, ...lab.texts };
  const choices = {}, views = [];
  try { Object.assign(choices, JSON.parse(sessionStorage.getItem("choices") || "{}")); } catch (error) { /* private window */ }

  // In the page a list of numbers that occurs often stands once, in the pool: {"@": place}.
  function unpack(packed) {
    const pool = packed.pool || [];
    const open = (v) => Array.isArray(v) ? v.map(open) : v && typeof v === "object"
      ? ("@" in v ? pool[v["@"]] : Object.fromEntries(Object.entries(v).map(([k, w]) => [k, open(w)]))) : v;
    return open(packed.view);
  }

  // Downloads ----------------------------------------------------------------------------------------------------
  function rowsOf(chart, frame) {
    if (chart.kind === "table") return [frame.columns, ...frame.rows];
    if (chart.kind === "tokens") return [["token", "value"], ...frame.tokens.map((t, i) => [t, (frame.values || [])[i]])];
    const x = frame.x || chart.x || { values: [] };
    if (chart.kind === "heatmap") {
      const y = frame.y || chart.y || { values: [] };
      return [[`${y.label || ""} \\ ${x.label || ""}`, ...x.values], ...frame.rows.map((row, i) => [y.values[i], ...row])];
    }
    const columns = (frame.series || []).flatMap((s) => s.low ? [[s.name + " low", s.low], [s.name + " high", s.high]] : [[s.name, s.values]]);
    return [[x.label || "x", ...columns.map((c) => c[0])], ...x.values.map((v, i) => [v, ...columns.map((c) => c[1][i])])];
  }
  function csv(rows) {
    return rows.map((r) => r.map((v) => { const s = v === null || v === undefined ? "" : String(v); return /[",\n]/.test(s) ? `"${s.replace(/"/g, '""')}"` : s; }).join(",")).join("\n") + "\n";
  }
  function standalone(svg) {
    const copy = svg.cloneNode(true), style = getComputedStyle(document.documentElement), css = {};
    for (const name of ["--paper", "--ink", "--soft", "--line", "--grid", "--floor", "--none"]) css[name] = style.getPropertyValue(name).trim();
    copy.setAttribute("xmlns", lab.NS);
    const rule = document.createElementNS(lab.NS, "style");
    rule.textContent = `svg{background:${css["--paper"]};font:13px sans-serif}text{fill:${css["--soft"]}}.axis{stroke:${css["--line"]}}.grid{stroke:${css["--grid"]}}.here{stroke:${css["--soft"]}}.area{fill:none}.chosen{fill:none;stroke:${css["--ink"]};stroke-width:2}`;
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

  // Choosing -----------------------------------------------------------------------------------------------------
  function refresh() {
    for (const view of views) { view.adopt(); draw(view); }
    try { sessionStorage.setItem("choices", JSON.stringify(choices)); } catch (error) { /* private window */ }
  }
  // What a drawing may ask: does an axis have a control, which of its places is chosen, choose places.
  function picker(view) {
    const controlOf = (axis) => axis && axis.control ? view.controls[axis.control] : undefined;
    return {
      offers: (_, axis) => Boolean(controlOf(axis)) && controlOf(axis).options.length > 1,
      chosen: (_, axis, values) => controlOf(axis) ? values.findIndex((v) => String(v) === String(view.value(axis.control))) : -1,
      choose: (places) => {
        for (const [, axis, i] of places) {
          const control = controlOf(axis);
          if (control && control.options.some((o) => String(o) === String(axis.values[i]))) choices[axis.control] = axis.values[i];
        }
        refresh();
      },
    };
  }

  const empty = (frame) => !["series", "rows", "tokens"].some((part) => frame[part] && frame[part].length);

  function draw(view) {
    const width = Math.max(290, Math.min(860, view.charts.clientWidth - 36));
    view.charts.style.minHeight = `${view.charts.offsetHeight}px`; // the page must not jump while it is drawn anew
    view.charts.textContent = "";
    view.printed.textContent = view.data.controls.map((c) => `${c.label}: ${view.words(c.name)}`).join(" · ");
    const told = new Set();
    for (const chart of view.data.charts) {
      const key = chart.depends.map((name) => String(view.value(name))).join("|");
      const figure = el("figure", { "data-chart": chart.name, "data-frame": key }, view.charts);
      el("h4", {}, figure, chart.title);
      const frame = chart.frames[key];
      if (!frame || empty(frame)) { el("figcaption", {}, figure, (frame && frame.note) || chart.missing || words.missing); continue; }
      const svg = DRAW[chart.kind](figure, chart, frame, view.pick, width);
      const alt = frame.alt || (key === view.first[chart.name] ? chart.alt : "");
      const said = [alt, frame.note === alt ? "" : frame.note].filter(Boolean).join(" ");
      if (svg) svg.setAttribute("aria-label", [chart.title, said].filter(Boolean).join(". "));
      // A sentence that stands under the picture before is not said again.
      const caption = el("figcaption", {}, figure);
      if (said && !told.has(said)) lab.write(caption, said + " ");
      told.add(said);
      const tools = el("span", { class: "tools" }, caption);
      if (svg) link(tools, words.svg, chart.name + ".svg", "image/svg+xml", () => standalone(svg));
      link(tools, words.csv, chart.name + ".csv", "text/csv", () => csv(rowsOf(chart, frame)));
    }
    view.charts.style.minHeight = "";
  }

  document.querySelectorAll(".views").forEach((section) => {
    const data = unpack(JSON.parse(section.querySelector(".view-data").textContent));
    const controls = Object.fromEntries(data.controls.map((c) => [c.name, c]));
    const view = { data, controls, first: {}, charts: section.querySelector(".charts.js-only"), printed: section.querySelector(".choices") };
    // A choice made elsewhere holds where it is offered; where it is not, this view keeps its own default.
    view.value = (name) => {
      const c = controls[name], found = c.options.find((o) => String(o) === String(choices[name]));
      return found === undefined ? c.default : found;
    };
    view.words = (name) => {
      const c = controls[name], index = c.options.findIndex((o) => String(o) === String(view.value(name)));
      return String((c.labels || c.options)[index]);
    };
    view.adopt = () => section.querySelectorAll("[data-control]").forEach((input) => {
      const name = input.dataset.control, index = controls[name].options.findIndex((o) => String(o) === String(view.value(name)));
      if (input.tagName === "SELECT") input.selectedIndex = index;
      else { input.value = index; input.setAttribute("aria-valuetext", view.words(name)); input.nextElementSibling.textContent = view.words(name); }
    });
    view.pick = picker(view);
    data.charts.forEach((chart) => { view.first[chart.name] = chart.depends.map((name) => String(controls[name].default)).join("|"); });
    section.querySelectorAll("[data-control]").forEach((input) => input.addEventListener("input", () => {
      const c = controls[input.dataset.control];
      choices[c.name] = c.options[input.tagName === "SELECT" ? input.selectedIndex : Number(input.value)];
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
