// What every widget builds its nodes with; joined before the widget's own script.

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

// What a widget's module exports, of a class that is given the model and an element of its own.
function rendering(Kind) {
  return ({ model, el }) => {
    const root = element("div");
    el.append(root);
    const one = new Kind(model, root);
    return () => one.end();
  };
}
