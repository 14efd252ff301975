// What every widget builds its nodes with; joined before the widget's own script.

const EARLY_MS = 30000; // a click that waited longer than this for its widget is no longer meant

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text, onclick) {
  const node = element("button", className, text);
  node.type = "button";
  node.onclick = onclick;
  return node;
}

// The time at the home that is shown, in milliseconds; a demonstration's goes on where its sample ends.
function present() {
  return Date.now() + Number(document.querySelector("[data-moved-ms]")?.dataset.movedMs ?? 0);
}

// A moment, as text or in milliseconds, as the reader's own clock shows it, which is what a browser's field takes.
function localTime(at) {
  const moment = new Date(at);
  if (!at || Number.isNaN(moment.getTime())) return "";
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

// One part of the address, without what is missing or empty; whatever else stands in it stays.
function writeAddress(keys, values, { push = false } = {}) {
  const address = new URLSearchParams(location.search);
  for (const key of keys) if ((values[key] ?? "") === "") address.delete(key); else address.set(key, values[key]);
  const text = address.toString(), next = location.pathname + (text ? `?${text}` : "");
  if (next !== location.pathname + location.search) history[push ? "pushState" : "replaceState"](history.state, "", next);
}

// Calls `does` with what carries data-<key>, wherever it is drawn, once it is clicked, even if that was before the widget was there.
// With a key held down a link opens in a tab of its own. Returns what ends it.
function heeded(key, does) {
  const take = (path) => {
    const node = path.find((one) => one.dataset?.[key]);
    if (!node) return false;
    window.twClicked = null;
    does(node);
    return true;
  };
  const heard = (event) => { if (!(event.ctrlKey || event.metaKey || event.shiftKey || event.button) && take(event.composedPath())) event.preventDefault(); };
  document.addEventListener("click", heard);
  const early = window.twClicked;
  if (early && performance.now() - early.at < EARLY_MS) setTimeout(() => { if (window.twClicked === early) take(early.path.filter((node) => node.isConnected)); });
  return () => document.removeEventListener("click", heard);
}

// What a widget's module exports, of a class that is given the model and an element of its own.
function rendering(Kind) {
  return ({ model, el }) => {
    const root = element("div");
    el.append(root);
    const one = new Kind(model, root);
    return () => one.end();
  };
}
