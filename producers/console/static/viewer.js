// Looking closely: zoom, pan, rotate, brightness, contrast, grid; two images moved together, overlaid or blinked.

const FRESH = { zoom: 1, x: 0, y: 0, turn: 0, brightness: 100, contrast: 100, grid: false };
const BLINK_MS = 700; // slower than three flashes a second
const REPORT_MS = 5000;

class Viewer {
  constructor(element, onChange) {
    this.element = element;
    this.image = element.querySelector("img");
    this.view = { ...FRESH };
    this.onChange = onChange;
    this.zoomed = false;
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => this.drag(event));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  set(change, told = true) {
    this.view = { ...this.view, ...change };
    const { zoom, x, y, turn, brightness, contrast, grid } = this.view;
    this.image.style.transform = `translate(${x}px, ${y}px) rotate(${turn}deg) scale(${zoom})`;
    this.image.style.filter = `brightness(${brightness}%) contrast(${contrast}%)`;
    this.element.classList.toggle("grid", grid);
    if (zoom > 1.2) this.zoomed = true;
    if (told) this.onChange(this, change);
  }

  scale(factor) {
    const zoom = Math.min(16, Math.max(0.5, this.view.zoom * factor));
    const share = zoom / this.view.zoom;
    this.set({ zoom, x: this.view.x * share, y: this.view.y * share });
  }

  do(what) {
    const actions = {
      in: () => this.scale(1.25),
      out: () => this.scale(0.8),
      left: () => this.set({ turn: this.view.turn - 5 }),
      right: () => this.set({ turn: this.view.turn + 5 }),
      grid: () => this.set({ grid: !this.view.grid }),
      reset: () => this.set({ ...FRESH }),
    };
    actions[what]();
  }

  wheel(event) {
    event.preventDefault();
    this.scale(event.deltaY < 0 ? 1.12 : 0.89);
  }

  drag(event) {
    this.element.setPointerCapture(event.pointerId);
    this.element.classList.add("moving");
    const from = { x: event.clientX - this.view.x, y: event.clientY - this.view.y };
    const move = (at) => this.set({ x: at.clientX - from.x, y: at.clientY - from.y });
    const stop = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.classList.remove("moving");
    };
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", stop, { once: true });
    this.element.addEventListener("pointercancel", stop, { once: true });
  }

  key(event) {
    const keys = { "+": "in", "=": "in", "-": "out", q: "left", e: "right", g: "grid", 0: "reset" };
    const step = { ArrowLeft: [-24, 0], ArrowRight: [24, 0], ArrowUp: [0, -24], ArrowDown: [0, 24] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) this.do(keys[event.key]);
    else if (step) this.set({ x: this.view.x + step[0], y: this.view.y + step[1] });
    else return;
    event.preventDefault();
  }
}

const viewers = [...document.querySelectorAll("[data-viewer]")].map((element) => new Viewer(element, together));
const comparison = document.querySelector("[data-compare]");
const linked = () => comparison?.querySelector("[data-link]").checked;

function together(changed, change) {
  if (linked()) viewers.filter((each) => each !== changed).forEach((each) => each.set(change, false));
  showTools(changed.view);
}

function showTools(view) {
  for (const input of document.querySelectorAll("[data-set]")) input.value = view[input.dataset.set];
  for (const button of document.querySelectorAll("[data-do=grid]")) button.setAttribute("aria-pressed", view.grid);
}

let current = viewers.at(-1);
viewers.forEach((each) => each.element.addEventListener("focus", () => (current = each)));
for (const tools of document.querySelectorAll("[data-tools]")) {
  tools.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do]");
    if (button) current.do(button.dataset.do);
  });
  tools.addEventListener("input", ({ target }) => current.set({ [target.dataset.set]: Number(target.value) }));
}

if (comparison) compare();

function compare() {
  const stage = comparison.querySelector("[data-stage]");
  const shown = viewers.find((each) => each.element.dataset.viewer === "candidate");
  const mix = comparison.querySelector(".mix");
  let blinking;
  let place = 1;
  let since = performance.now();
  const looks = new Map();

  function mode(name) {
    stage.dataset.stage = name;
    for (const button of comparison.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === name);
    clearInterval(blinking);
    shown.element.style.visibility = "";
    mix.hidden = name !== "overlay";
    shown.element.style.opacity = name === "overlay" ? mix.querySelector("input").value / 100 : "";
    if (name === "blink") blinking = setInterval(() => (shown.element.style.visibility = shown.element.style.visibility ? "" : "hidden"), BLINK_MS);
  }

  function choose(button) {
    note();
    place = Number(button.dataset.candidate);
    shown.image.src = button.dataset.src;
    shown.element.setAttribute("aria-label", `Candidate ${place}`);
    comparison.querySelector("[data-shown]").textContent = place;
    for (const each of comparison.querySelectorAll("[data-candidate]")) each.setAttribute("aria-pressed", each === button);
  }

  function note() {
    const now = performance.now();
    const known = looks.get(place) ?? { dwell_ms: 0, zoomed: false };
    const dwell = document.visibilityState === "visible" ? Math.round(now - since) : 0;
    looks.set(place, { dwell_ms: Math.min(60000, known.dwell_ms + dwell), zoomed: known.zoomed || shown.zoomed });
    since = now;
    shown.zoomed = shown.view.zoom > 1.2;
  }

  function report() {
    note();
    const said = [...looks].map(([number, look]) => ({ place: number, ...look }));
    looks.clear();
    fetch(comparison.dataset.looks, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(said), keepalive: true });
  }

  comparison.querySelector(".modes").addEventListener("click", ({ target }) => target.dataset.mode && mode(target.dataset.mode));
  mix.addEventListener("input", ({ target }) => (shown.element.style.opacity = target.value / 100));
  comparison.querySelector(".strip").addEventListener("click", ({ target }) => {
    const button = target.closest("[data-candidate]");
    if (button) choose(button);
  });
  const start = comparison.querySelector(`[data-candidate="${comparison.querySelector(".strip").dataset.start}"]`);
  if (start) choose(start);
  setInterval(report, REPORT_MS);
  document.addEventListener("visibilitychange", report);
  document.querySelector("#conclusion").addEventListener("submit", report);
}

// A checklist's last step: what is left cannot be seen.
for (const button of document.querySelectorAll("[data-fill]")) {
  button.addEventListener("click", () => {
    const form = button.closest("form");
    const names = new Set([...form.querySelectorAll("tbody input[type=radio]")].map((input) => input.name));
    for (const name of names) {
      if (form.querySelector(`input[name="${name}"]:checked`)) continue;
      form.querySelector(`input[name="${name}"][value="${button.dataset.fill}"]`).checked = true;
    }
  });
}

// What was wrong comes first; else the conclusion that names nobody. The images stay in sight.
const first = document.querySelector("#flaws") ?? document.querySelector("input[name=choice]:checked");
first?.focus({ preventScroll: first.id !== "flaws" });
