"use strict";
// The page is complete without this script, which sorts, opens and closes what is there.
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const say = (text) => { document.querySelector(".live").textContent = text; };

  // Rows
  const toggles = all(".toggle");
  const target = (button) => document.getElementById(button.getAttribute("aria-controls"));
  const open = (toggle, isOpen) => {
    toggle.setAttribute("aria-expanded", String(isOpen));
    target(toggle).hidden = !isOpen;
  };
  const isOpen = (button) => button.getAttribute("aria-expanded") === "true";
  const toggleAll = document.querySelector("[data-action=toggle-all]");
  const nameToggleAll = () => {
    const every = toggles.length > 0 && toggles.every(isOpen);
    toggleAll.textContent = every ? "Collapse all" : "Expand all";
    toggleAll.setAttribute("aria-pressed", String(every));
  };
  toggleAll.addEventListener("click", () => {
    const every = toggles.every(isOpen);
    toggles.forEach((toggle) => open(toggle, !every));
    nameToggleAll();
  });
  all("tr.summary").forEach((row) => row.addEventListener("click", (event) => {
    const toggle = row.querySelector(".toggle");
    // Ignore a click that only ends a selection of text, unless it is on the button, which the keyboard clicks, too.
    const isMeant = event.target.closest(".toggle") || !String(getSelection());
    if (event.target.closest("a, button:not(.toggle)") || !isMeant) return;
    open(toggle, !isOpen(toggle));
    nameToggleAll();
  }));
  if (toggles.length === 1) open(toggles[0], true);
  nameToggleAll();

  const decoded = (text) => {
    try { return decodeURIComponent(text); } catch { return text; }
  };

  // A link to a run opens it: report.html#run-2, or #its-name.
  const follow = () => {
    const name = decoded(location.hash.slice(1));
    const run = name && all(".run").find((each) => each.id === name || each.dataset.name === name);
    if (!run) return;
    open(run.querySelector(".toggle"), true);
    nameToggleAll();
    run.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();

  // Sorting
  const value = (run, column, kind) => {
    const text = run.querySelector("tr.summary").children[column].dataset.value;
    if (kind === "text") return text;
    return text === "" || Number.isNaN(Number(text)) ? null : Number(text);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  all(".sort").forEach((button) => button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const down = heading.getAttribute("aria-sort") === "ascending";
    const column = [...heading.parentElement.children].indexOf(heading);
    all("thead th[aria-sort]", table).forEach((each) => each.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = all("tbody.run", table).map((run) => [value(run, column, button.dataset.kind), run]);
    // What has no value comes last in both directions.
    keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? compare(b, a) : compare(a, b)));
    keyed.forEach(([, run]) => table.append(run));
    say(`Sorted by ${button.textContent.replace("\u00ad", "")}, ${down ? "descending" : "ascending"}`);
  }));

  // Panels with graphs: one at a time in each map. Both the squares and the links below them open these.
  const panels = all(".panel");
  const openers = (panel) => all("[aria-controls]", panel.closest(".map")).filter((each) => target(each) === panel);
  const show = (panel, isShown) => {
    panel.hidden = !isShown;
    openers(panel).forEach((each) => each.setAttribute("aria-expanded", String(isShown)));
  };
  panels.forEach((panel) => {
    show(panel, false);
    openers(panel).forEach((each) => each.addEventListener("click", () => {
      const isShown = panel.hidden;
      all(".panel", panel.closest(".map")).forEach((other) => show(other, false));
      show(panel, isShown);
    }));
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      show(panel, false);
      openers(panel)[0].focus();
    });
  });
  all("[data-arrows]").forEach((list) => list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const squares = all("button", list);
    const next = squares[squares.indexOf(document.activeElement) + step];
    if (!next) return;
    next.focus();
    event.preventDefault();
  }));

  // Identical lines
  all(".folded").forEach((lines) => { lines.hidden = true; });
  all("[data-action=unfold]").forEach((button) => button.addEventListener("click", () => {
    const fold = button.closest("tbody");
    fold.nextElementSibling.hidden = false;
    fold.hidden = true;
  }));

  // Commands
  const copy = async (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  };
  all("[data-action=copy]").forEach((button) => button.addEventListener("click", async () => {
    try {
      await copy(button.previousElementSibling.textContent);
      button.textContent = "Copied";
      say("Copied");
    } catch {
      button.textContent = "Select and copy";
      getSelection().selectAllChildren(button.previousElementSibling);
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }));

  // Colours: those of the system, unless chosen
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const button = document.querySelector("[data-action=theme]");
  const nameTheme = () => { button.querySelector("[data-theme-name]").textContent = theme() === "dark" ? "Light" : "Dark"; };
  const stored = (change) => {
    try { return change(localStorage); } catch { return null; } // a browser may refuse storage to files
  };
  const chosen = stored((storage) => storage.getItem("coldwarm-theme"));
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    stored((storage) => storage.setItem("coldwarm-theme", root.dataset.theme));
    nameTheme();
  });
  system.addEventListener("change", nameTheme);
  nameTheme();

  // On paper, nothing of an open row is folded away.
  const unfolded = [];
  addEventListener("beforeprint", () => {
    for (const each of all("details:not([open])")) {
      each.open = true;
      unfolded.push(each);
    }
  });
  addEventListener("afterprint", () => {
    for (const each of unfolded.splice(0)) each.open = false;
  });
})();
