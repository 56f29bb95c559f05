"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".card")];
  const KEY = "radfoundry-series-" + data.sheet;
  const OTHER = "other";
  const UNKNOWN = (data.kinds.find(([id]) => id === "UNKNOWN") || data.kinds[0])[0];
  let said = {};
  let active = null;

  // Some browsers refuse storage to pages on disk: then changes live as long as the page does.
  try { said = JSON.parse(localStorage.getItem(KEY) || "{}") || {}; }
  catch { notice("Changes cannot be kept in this browser. Download them before you close the page."); }

  function keep() {
    try { localStorage.setItem(KEY, JSON.stringify(said)); }
    catch { notice("Changes cannot be kept in this browser. Download them before you close the page."); }
  }
  function notice(text) { $("notice").textContent = text; $("notice").hidden = false; }
  function tell(text) { $("live").textContent = text; }

  const was = (card) => ({ modality: card.dataset.modality, kind: card.dataset.kind, anatomy: card.dataset.anatomy });
  const now = (card) => ({ ...was(card), note: "", ...said[card.dataset.uid] });
  const nameOf = (list, id) => (list.find(([known]) => known === id) || [id, id])[1];
  const labelOf = (v) => v.kind ? v.modality + ":" + v.kind : v.modality;

  // ---- what a card shows
  function show(card) {
    const mine = said[card.dataset.uid];
    const badge = card.querySelector(".badge.mine");
    const title = card.querySelector("h2");
    card.classList.toggle("done", Boolean(mine));
    badge.hidden = !mine;
    title.textContent = "";
    const after = mine ? labelOf(mine) : card.dataset.label;
    if (mine) {
      const changed = after !== card.dataset.label || mine.anatomy !== card.dataset.anatomy;
      badge.textContent = changed ? "corrected" : "confirmed";
      if (after !== card.dataset.label) {
        const old = document.createElement("s");
        old.textContent = card.dataset.label;
        title.append(old);
      }
    }
    title.append(after);
    const v = now(card);
    card.querySelector(".name").textContent = nameOf(v.kind ? data.kinds : data.modalities, v.kind || v.modality);
    card.querySelector(".part").textContent = nameOf(data.anatomies, v.anatomy);
  }
  function count() {
    const n = cards.filter((card) => said[card.dataset.uid]).length;
    $("checked").textContent = n;
    $("download").disabled = !n;
    $("download").textContent = n ? "Download " + n + " correction" + (n === 1 ? "" : "s") : "Download corrections";
  }

  // ---- the editor at the foot of the window, which is about the active card
  const editor = $("editor-template").content.firstElementChild.cloneNode(true);
  const field = (name) => editor.elements[name];
  function fill(select, options) {
    select.replaceChildren(...options.map(([id, name]) => {
      const option = document.createElement("option");
      option.value = id;
      option.textContent = name && name !== id ? id + " – " + short(name) : id;
      option.title = name;
      return option;
    }));
  }
  // The beginning of a name: a list as wide as its longest name would be cut off. Cards show it whole.
  function short(name) {
    const first = name.split(/[:;,(]/)[0].trim();
    return first.length > 36 ? first.slice(0, first.lastIndexOf(" ", 35)) + " …" : first;
  }
  $("dock").append(editor);
  $("dock").hidden = !cards.length;
  // What is scrolled to is neither below the bar at the top nor below the editor.
  function pad() {
    const style = document.documentElement.style;
    const top = document.querySelector(".top");
    style.scrollPaddingTop = (getComputedStyle(top).position === "sticky" ? top.offsetHeight : 0) + 12 + "px";
    style.scrollPaddingBottom = document.body.style.paddingBottom = $("dock").offsetHeight + 12 + "px";
  }
  window.addEventListener("resize", pad);
  fill(field("modality"), data.modalities);
  fill(field("kind"), data.kinds);
  fill(field("anatomy"), data.anatomies);

  function load(card) {
    const v = now(card);
    for (const name of ["modality", "anatomy", "note"]) field(name).value = v[name];
    field("kind").value = v.kind || UNKNOWN;
    field("kind").closest("label").hidden = v.modality !== OTHER;
    field("undo").disabled = !said[card.dataset.uid];
    editor.querySelector(".which").textContent = [labelOf(v), ...[...card.querySelectorAll(".where span")].map((part) => part.textContent)].join(" · ");
    pad();
  }
  function choose() {
    field("modality").focus();
    try { field("modality").showPicker(); } catch { /* older browsers open it with a key */ }
  }
  function set(card, values) {
    const v = { ...now(card), ...values, when: new Date().toISOString() };
    if (v.modality !== OTHER) v.kind = "";
    else if (!v.kind) v.kind = field("kind").value || UNKNOWN;
    said[card.dataset.uid] = v;
    keep(); show(card); load(card); count();
    tell(card.dataset.label + " is now " + labelOf(v) + ", " + v.anatomy);
  }
  function undo(card) {
    delete said[card.dataset.uid];
    keep(); show(card); load(card); count();
    tell("back to " + card.dataset.label);
  }
  function read() {
    const modality = field("modality").value;
    return { modality, kind: modality === OTHER ? field("kind").value : "", anatomy: field("anatomy").value, note: field("note").value.trim() };
  }
  editor.addEventListener("change", () => active && set(active, read()));
  editor.addEventListener("submit", (event) => { event.preventDefault(); if (active) { set(active, read()); step(1); } });
  field("undo").addEventListener("click", () => { if (active) { undo(active); active.focus(); } });

  // ---- moving
  const shown = () => cards.filter((card) => !card.parentElement.hidden);
  function activate(card, focus = true) {
    if (!card) return;
    if (active && active !== card) { active.classList.remove("active"); active.tabIndex = -1; }
    active = card;
    card.classList.add("active");
    card.tabIndex = 0;
    load(card);
    if (focus) { card.focus({ preventScroll: true }); card.scrollIntoView({ block: "nearest" }); }
  }
  function step(by) {
    const list = shown();
    const at = list.indexOf(active);
    activate(list[Math.min(Math.max(at + by, 0), list.length - 1)]);
  }
  function columns() {
    const list = shown();
    const top = list.length ? list[0].parentElement.offsetTop : 0;
    return Math.max(list.filter((card) => card.parentElement.offsetTop === top).length, 1);
  }
  function nextUnsure() {
    const list = shown();
    const at = list.indexOf(active);
    const open = (card) => card.classList.contains("unsure") && !said[card.dataset.uid];
    const found = list.slice(at + 1).find(open) || list.find(open);
    if (found) activate(found); else tell("no unsure series is left");
  }
  function take(card, label) {
    const [modality, kind = ""] = label.split(":");
    set(card, { modality, kind });
  }
  $("cards").addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (!card) return;
    const chip = event.target.closest("[data-take]");
    const own = event.target.closest("input,select,button,summary,a");
    activate(card, !own);
    if (chip) take(card, chip.dataset.take);
    if (event.target.closest("[data-choose]")) choose();
  });
  $("cards").addEventListener("focusin", (event) => {
    const card = event.target.closest(".card");
    if (card && card !== active) activate(card, false);
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input,select,textarea");
    if (event.key === "Escape") {
      if (active) active.focus(); else event.target.blur();
      return;
    }
    if (typing) return;
    if ((event.key === "Enter" || event.key === " ") && event.target.closest("button,summary,a")) return;
    const key = event.key.toLowerCase();
    const moves = { arrowright: 1, arrowleft: -1, arrowdown: columns(), arrowup: -columns() };
    const focus = { m: "modality", a: "anatomy", n: "note" };
    if (key in moves) step(moves[key]);
    else if (key === "u") nextUnsure();
    else if (key === "/") $("search").focus();
    else if (key === "?") help();
    else if (!active) return;
    else if (key in focus) field(focus[key]).focus();
    else if (key === "c" || key === "enter") { set(active, read()); step(1); }
    else if (key === "z") undo(active);
    else if (/^[1-6]$/.test(key)) {
      const chip = active.querySelectorAll("[data-take]")[Number(key) - 1];
      if (!chip) return;
      take(active, chip.dataset.take);
    } else return;
    event.preventDefault();
  });

  // ---- filter, help, download
  function filter() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const label = $("by-label").value, anatomy = $("by-anatomy").value, state = $("by-state").value;
    let n = 0;
    for (const card of cards) {
      const mine = said[card.dataset.uid];
      const states = card.dataset.state.split(" ");
      const fits = words.every((word) => card.dataset.search.includes(word))
        && (!label || card.dataset.label === label || (mine && labelOf(mine) === label))
        && (!anatomy || now(card).anatomy === anatomy)
        && (!state || (state === "checked" ? Boolean(mine) : state === "todo" ? states.includes("unsure") && !mine : states.includes(state)));
      card.parentElement.hidden = !fits;
      n += fits;
    }
    $("none").hidden = n > 0;
    tell(n + " series shown");
  }
  for (const kind of ["input", "change"]) $("filters").addEventListener(kind, filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  function help() {
    $("keys").hidden = !$("keys").hidden;
    $("help").setAttribute("aria-expanded", String(!$("keys").hidden));
  }
  $("help").addEventListener("click", help);

  function exported() {
    const list = cards.filter((card) => said[card.dataset.uid]).map((card) => {
      const v = said[card.dataset.uid];
      return { uid: card.dataset.uid, modality: v.modality, kind: v.kind, anatomy: v.anatomy, note: v.note || "", when: v.when || "", was: was(card) };
    });
    return JSON.stringify({ format: 1, sheet: data.sheet, saved: new Date().toISOString(), corrections: list }, null, 1) + "\n";
  }
  $("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([exported()], { type: "application/json" }));
    link.download = "corrections.json";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    tell("corrections.json saved");
  });

  cards.forEach((card) => { if (said[card.dataset.uid]) show(card); });
  count();
  if (cards.length) activate(cards[0], false);
})();
