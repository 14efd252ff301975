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
