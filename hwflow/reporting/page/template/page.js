(() => {
  "use strict";
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

  // Colours in figures are names of the page's own: "@after", or "@after/0.2" for a fifth opaque.
  const colour = (text) => {
    const [name, alpha] = text.slice(1).split("/");
    const hex = getComputedStyle(root).getPropertyValue("--" + name).trim();
    if (!alpha) return hex;
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  };
  const coloured = (value, key = "") => {
    if (typeof value === "string") return value.startsWith("@") && /color$/.test(key) ? colour(value) : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, coloured(item, name)]));
  };
  const axis = { gridcolor: "@line", linecolor: "@line", zerolinecolor: "@line", tickcolor: "@line" };
  const common = {
    paper_bgcolor: "@panel",
    plot_bgcolor: "@panel",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "@ink" },
    hoverlabel: { bgcolor: "@panel", bordercolor: "@line", font: { color: "@ink" }, align: "left" },
    modebar: { bgcolor: "@panel", color: "@muted", activecolor: "@accent" },
    margin: { l: 60, r: 20, t: 10, b: 50 },
    hovermode: "closest",
    xaxis: axis,
    yaxis: axis,
  };

  const theme = document.getElementById("theme");
  const plots = [...document.querySelectorAll(".chart")];
  const fileName = (plot) => document.getElementById(plot.id + "-title").textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  // In a narrow window a legend of many lines and long names take their room from the bars: the figure grows instead.
  const keepRoom = (plot, wanted, height) => {
    const area = plot.querySelector(".plot-container .nsewdrag");
    const missing = Math.round(wanted / 2 - (area ? area.getBoundingClientRect().height : wanted));
    if (missing > 0) Plotly.relayout(plot, { height: height + missing });
  };
  // As many names under the bars as can be read. In a narrow window the legend is one column, where nothing is cut off, and long
  // names beside the bars are broken into lines.
  const fitted = (data, layout, width) => {
    const names = layout.xaxis?.ticktext ?? [];
    const step = Math.ceil((names.length * 13) / Math.max(width - 90, 1));
    const thinned = (list) => list.filter((_, at) => at % step === 0);
    const changes = step > 1 ? { xaxis: { ...layout.xaxis, ticktext: thinned(names), tickvals: thinned(layout.xaxis.tickvals) } } : {};
    if (width >= 480) return changes;
    let height = layout.height;
    if (layout.legend) {
      changes.legend = { ...layout.legend, orientation: "v" };
      const entries = new Set(data.filter((trace) => trace.showlegend !== false).map((trace) => trace.name));
      height += 22 * entries.size;
    }
    const beside = [...new Set(data.filter((trace) => trace.orientation === "h").flatMap((trace) => trace.y))];
    if (beside.length && beside.every((name) => typeof name === "string")) {
      const lines = beside.map((name) => name.replaceAll("/", "/<br>"));
      changes.yaxis = { ...layout.yaxis, tickvals: beside, ticktext: lines, tickfont: { size: 11 } };
      height += 20 * beside.length;
    }
    return { ...changes, height };
  };
  const draw = (plot) => {
    if (!plot.offsetWidth) return; // not shown: drawn when it is
    const { data, layout } = JSON.parse(plot.nextElementSibling.textContent);
    const whole = { ...layout, ...fitted(data, layout, plot.offsetWidth), template: { layout: common } };
    Plotly.react(plot, coloured(data), coloured(whole), {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]], // saving has buttons of its own
    });
    plot.dataset.theme = dark() ? "dark" : "light";
    keepRoom(plot, layout.height, whole.height);
  };
  const drawOutdated = async () => {
    theme.textContent = dark() ? "Light" : "Dark";
    for (const plot of plots) {
      if (plot.dataset.theme === (dark() ? "dark" : "light")) continue;
      draw(plot);
      await new Promise((resume) => setTimeout(resume)); // the page answers its reader in between
    }
  };

  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => {
      const plot = button.closest("figure").querySelector(".chart");
      Plotly.downloadImage(plot, { format: button.dataset.save, scale: 2, filename: fileName(plot) });
    });
  }

  for (const choice of document.querySelectorAll(".choice")) {
    const show = () => {
      const chosen = choice.querySelector("input:checked").value;
      for (const option of choice.querySelectorAll(".option")) option.hidden = option.id !== chosen;
      drawOutdated();
    };
    choice.addEventListener("change", show);
    for (const option of choice.querySelectorAll(".option")) {
      option.hidden = option.id !== choice.querySelector("input:checked").value;
    }
  }

  // A heading sorts ascending, then descending, then puts the rows back into their own order. Missing values come last.
  for (const table of document.querySelectorAll("table:not([data-part])")) {
    const body = table.tBodies[0];
    const own = [...body.rows];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, at) => {
      heading.firstElementChild.addEventListener("click", () => {
        const order = { none: "ascending", ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")];
        for (const other of headings) other.setAttribute("aria-sort", other === heading ? order : "none");
        const key = (row) => {
          const cell = row.cells[at];
          return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
        };
        const compare = (a, b) => {
          if (a === "-" || b === "-") return (a === "-") - (b === "-");
          const less = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
          return order === "descending" ? -less : less;
        };
        body.append(...(order === "none" ? own : [...own].sort((a, b) => compare(key(a), key(b)))));
      });
    });
  }

  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    drawOutdated();
  });
  prefersDark.addEventListener("change", drawOutdated);
  drawOutdated();
})();
