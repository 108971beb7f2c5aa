// Looking closely: zoom, pan, rotate, brightness, contrast, grid; two images moved together, overlaid or blinked.

const FRESH = { zoom: 1, x: 0, y: 0, turn: 0, brightness: 100, contrast: 100, grid: false };
const KEYS = { "+": "in", "=": "in", "-": "out", q: "left", e: "right", g: "grid", 0: "reset" };
const STEPS = { ArrowLeft: [-24, 0], ArrowRight: [24, 0], ArrowUp: [0, -24], ArrowDown: [0, 24] };
const DEGREES = 5;
const CLOSE = 1.2; // zoomed in further than this, somebody looks closely
const BLINK_MS = 700; // slower than three flashes a second
const REPORT_MS = 5000;
const LONGEST_LOOK_MS = 60000;

class Viewer {
  constructor(element) {
    this.element = element;
    this.image = element.querySelector("img");
    this.view = { ...FRESH };
    this.zoomed = false;
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => this.drag(event));
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("focus", () => control(this));
  }

  set(change) {
    this.view = { ...this.view, ...change };
    const { zoom, x, y, turn, brightness, contrast, grid } = this.view;
    this.image.style.transform = `translate(${x}px, ${y}px) rotate(${turn}deg) scale(${zoom})`;
    this.image.style.filter = `brightness(${brightness}%) contrast(${contrast}%)`;
    this.element.classList.toggle("grid", grid);
    if (zoom > CLOSE) this.zoomed = true;
  }

  scale(factor) {
    const zoom = Math.min(16, Math.max(0.5, this.view.zoom * factor));
    const share = zoom / this.view.zoom;
    this.set({ zoom, x: this.view.x * share, y: this.view.y * share });
  }

  pan(x, y) {
    this.set({ x: this.view.x + x, y: this.view.y + y });
  }

  turn(degrees) {
    this.set({ turn: this.view.turn + degrees });
  }

  do(what) {
    const { grid } = this.view;
    const actions = {
      in: (each) => each.scale(1.25),
      out: (each) => each.scale(0.8),
      left: (each) => each.turn(-DEGREES),
      right: (each) => each.turn(DEGREES),
      grid: (each) => each.set({ grid: !grid }),
      reset: (each) => each.set(FRESH),
    };
    together(this, actions[what]);
  }

  wheel(event) {
    event.preventDefault();
    together(this, (each) => each.scale(event.deltaY < 0 ? 1.12 : 0.89));
  }

  drag(event) {
    this.element.setPointerCapture(event.pointerId);
    this.element.classList.add("moving");
    let last = event;
    const move = (now) => {
      const [x, y] = [now.clientX - last.clientX, now.clientY - last.clientY];
      last = now;
      together(this, (each) => each.pan(x, y));
    };
    const stop = () => {
      this.element.removeEventListener("pointermove", move);
      this.element.classList.remove("moving");
    };
    this.element.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) this.element.addEventListener(end, stop, { once: true });
  }

  key(event) {
    const step = STEPS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) this.do(KEYS[event.key]);
    else if (step) together(this, (each) => each.pan(...step));
    else return;
    event.preventDefault();
  }
}

const comparison = document.querySelector("[data-compare]");
const link = comparison?.querySelector("[data-link]");
const viewers = [...document.querySelectorAll("[data-viewer]")].map((element) => new Viewer(element));
let current = viewers.at(-1);

// Each moves on from where it is: two images that were laid over each other by hand stay so.
function together(viewer, how) {
  (link?.checked ? viewers : [viewer]).forEach(how);
  showTools();
}

function control(viewer) {
  current = viewer;
  showTools();
}

function showTools() {
  for (const input of document.querySelectorAll("[data-set]")) input.value = current.view[input.dataset.set];
  for (const button of document.querySelectorAll("[data-do=grid]")) button.setAttribute("aria-pressed", current.view.grid);
  for (const each of viewers) each.element.toggleAttribute("data-alone", each === current && link?.checked === false);
}

for (const tools of document.querySelectorAll("[data-tools]")) {
  tools.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do]");
    if (button) current.do(button.dataset.do);
  });
  tools.addEventListener("input", ({ target }) => together(current, (each) => each.set({ [target.dataset.set]: Number(target.value) })));
}
link?.addEventListener("change", showTools);

// --- being there -------------------------------------------------------------------------------------------------

// The case is held, and the session lives, while somebody does something here; an open window alone does not count.
let busy = true;
for (const what of ["pointermove", "pointerdown", "wheel", "keydown", "scroll"]) {
  addEventListener(what, () => (busy = true), { capture: true, passive: true });
}

async function tell(path, body) {
  busy = false;
  const how = { method: "POST", headers: { "content-type": "application/json" }, body, keepalive: true, redirect: "manual" };
  const answer = await fetch(path, { ...how, signal: AbortSignal.timeout(REPORT_MS) }).catch(() => null);
  document.querySelector("#ended").hidden = answer?.type !== "opaqueredirect";
  document.querySelector("#lost").hidden = answer?.status !== 403;
}

// --- the probe alone ---------------------------------------------------------------------------------------------

const held = document.querySelector("[data-hold]");
if (held) setInterval(() => busy && tell(held.dataset.hold), LONGEST_LOOK_MS);

// --- probe and candidates ----------------------------------------------------------------------------------------

if (comparison) compare();

function compare() {
  const stage = comparison.querySelector("[data-stage]");
  const strip = comparison.querySelector(".strip");
  const conclusion = document.querySelector("#conclusion");
  const shown = viewers.find((each) => each.element.dataset.viewer === "candidate");
  const mix = comparison.querySelector(".mix");
  const buttons = [...strip.querySelectorAll("[data-candidate]")];
  const looks = new Map();
  let blinking;
  let place = 1;
  let since = performance.now();

  function mode(name) {
    stage.dataset.stage = name;
    for (const button of comparison.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === name);
    clearInterval(blinking);
    mix.hidden = name !== "overlay";
    shown.element.style.opacity = name === "overlay" ? mix.querySelector("input").value / 100 : "";
    if (name === "blink") blinking = setInterval(() => (shown.element.style.opacity = shown.element.style.opacity ? "" : "0"), BLINK_MS);
  }

  function choose(button) {
    note();
    place = Number(button.dataset.candidate);
    shown.image.src = button.dataset.src;
    shown.element.setAttribute("aria-label", shown.element.dataset.label.replace("#", place));
    comparison.querySelector("[data-shown]").textContent = place;
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    strip.scrollLeft = button.offsetLeft - (strip.clientWidth - button.clientWidth) / 2;
  }

  function note() {
    const now = performance.now();
    const known = looks.get(place) ?? { dwell_ms: 0, zoomed: false };
    looks.set(place, { dwell_ms: Math.min(LONGEST_LOOK_MS, known.dwell_ms + Math.round(now - since)), zoomed: known.zoomed || shown.zoomed });
    since = now;
    shown.zoomed = shown.view.zoom > CLOSE;
  }

  function report() {
    note();
    const said = [...looks].map(([number, look]) => ({ place: number, ...look }));
    looks.clear();
    return tell(comparison.dataset.looks, JSON.stringify(said));
  }

  comparison.querySelector(".modes").addEventListener("click", ({ target }) => target.dataset.mode && mode(target.dataset.mode));
  mix.addEventListener("input", ({ target }) => (shown.element.style.opacity = target.value / 100));
  strip.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-candidate]");
    if (button) choose(button);
  });
  stage.addEventListener("keydown", (event) => {
    const button = buttons[place - 1 + ({ PageDown: 1, PageUp: -1 }[event.key] ?? NaN)];
    if (button) choose(button);
    if (event.key.startsWith("Page")) event.preventDefault();
  });
  const start = buttons[Number(conclusion.querySelector("[name=choice]:checked").value) - 1];
  if (start) choose(start);
  setInterval(() => busy && report(), REPORT_MS);
  document.addEventListener("visibilitychange", () => (document.hidden ? report() : (since = performance.now())));
  conclusion.addEventListener("submit", async (event) => {
    event.preventDefault();
    await report(); // how it was looked at belongs to what is concluded
    conclusion.submit();
  });
}

// --- the forms ---------------------------------------------------------------------------------------------------

// A checklist's last step: what is left cannot be seen.
for (const button of document.querySelectorAll("[data-fill]")) {
  button.addEventListener("click", () => {
    const form = button.closest("form");
    const names = new Set([...form.querySelectorAll("tbody input[type=radio]")].map((input) => input.name));
    for (const name of names) {
      if (form.querySelector(`input[name="${name}"]:checked`)) continue;
      form.querySelector(`input[name="${name}"][value="${button.dataset.fill}"]`).checked = true;
    }
    form.dispatchEvent(new Event("input"));
  });
}

// What was wrong comes first; else the conclusion that names nobody. The images stay in sight.
const first = document.querySelector("#flaws") ?? document.querySelector("input[name=choice]:checked");
first?.focus({ preventScroll: first.id !== "flaws" });
