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
  const draw = (plot) => {
    if (!plot.offsetWidth) return; // not shown: drawn when it is
    const { data, layout } = JSON.parse(plot.nextElementSibling.textContent);
    const whole = { ...layout, template: { layout: common } };
    Plotly.react(plot, coloured(data), coloured(whole), {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]], // saving has buttons of its own
    });
    plot.dataset.theme = dark() ? "dark" : "light";
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
