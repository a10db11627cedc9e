(() => {
  "use strict";
  const shown = 10;
  const text = (value) => {
    if (value === null) return "-";
    const places = value ? Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value)))) : 0;
    return value.toLocaleString("en", { minimumFractionDigits: Math.min(places, 20), maximumFractionDigits: Math.min(places, 20) });
  };
  const cells = (row, kind, texts, words) => {
    texts.forEach((one, i) => {
      const cell = document.createElement(kind);
      if (kind === "th") cell.scope = "col";
      cell.textContent = one;
      cell.className = words(i) ? "left" : "number";
      row.append(cell);
    });
  };

  for (const form of document.querySelectorAll(".chooser")) {
    const { quantities, headings, groups } = JSON.parse(form.querySelector("script").textContent);
    const part = (name) => form.querySelector(`[data-part="${name}"]`);
    const limits = [...form.querySelectorAll("[data-limit]")];
    const names = quantities.map(([name]) => name);
    const amount = (design, at) => `${text(design[1][at])}\u00a0${quantities[at][1]}`.trim();
    const least = (designs, at) => designs.reduce((best, one) => (one[1][at] < best[1][at] ? one : best));
    const words = (i) => i === 0 || i > names.length;
    cells(part("best").tHead.insertRow(), "th", ["", ...quantities.map(([name, unit]) => (unit ? `${name}\n(${unit})` : name)), ...headings.map((name) => name.replace(".", ".\n")), "point"], words);

    const answer = () => {
      const at = names.indexOf(part("least").value);
      const group = groups[part("group").value];
      const most = limits.map((input) => (input.value === "" || !input.validity.valid ? Infinity : Number(input.value)));
      limits.forEach((input, i) => {
        const known = group.map((design) => design[1][i]).filter((value) => value !== null);
        const range = form.querySelector(`#${input.getAttribute("aria-describedby")}`);
        range.textContent = known.length ? `${text(Math.min(...known))} to ${text(Math.max(...known))}` : "not known";
        input.disabled = !known.length;
        input.setAttribute("aria-invalid", String(!input.validity.valid));
      });
      const keeps = (design) => most.every((limit, i) => limit === Infinity || (design[1][i] !== null && design[1][i] <= limit));
      const kept = group.filter((design) => design[1][at] !== null && keeps(design));
      kept.sort((a, b) => a[1][at] - b[1][at]);
      const told = part("answer");
      const command = part("command");
      told.classList.toggle("none", !kept.length);
      command.hidden = part("best").hidden = !kept.length;
      if (kept.length) {
        const best = kept[0];
        const others = names.map((name, i) => (i === at || best[1][i] === null ? "" : `${name} ${amount(best, i)}`)).filter(Boolean);
        const setting = headings.map((name, i) => (best[2][i] === "-" ? "" : `${name} ${best[2][i]}`)).filter(Boolean);
        told.textContent = `Best of ${kept.length.toLocaleString("en")} of ${group.length.toLocaleString("en")} designs: point ${best[0]}, ${names[at]} ${amount(best, at)}; ${others.join(", ")}.\n${setting.join(", ")}`;
        command.firstElementChild.textContent = best[3];
      } else {
        const alone = limits.map((_, i) => {
          const known = group.filter((design) => design[1][i] !== null);
          if (most[i] === Infinity || !known.length) return "";
          return `the least ${names[i]} of all is ${amount(least(known, i), i)}`;
        });
        told.textContent = `No design of ${group.length.toLocaleString("en")} keeps these limits: ${alone.filter(Boolean).join("; ")}. Raise a limit.`;
      }
      const body = part("best").tBodies[0];
      body.replaceChildren();
      kept.slice(0, shown).forEach((design, i) => {
        cells(body.insertRow(), "td", [`${i + 1}`, ...design[1].map(text), ...design[2], String(design[0])], words);
      });
    };
    form.addEventListener("input", answer);
    form.addEventListener("reset", (event) => {
      event.preventDefault(); // network and quantity stay
      for (const input of limits) input.value = "";
      answer();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    answer();
  }
})();
