// How a page's hands speak: one line at the foot says what came of an order, one dialog asks before it. Joined after dom.js.

const SHOWN_MS = 12000;

function labelled(word, field, hint) {
  const label = element("label", "tw-field");
  label.append(element("span", "", word), field);
  if (hint) label.append(element("small", "tw-muted", hint));
  return label;
}

// What `send` takes is an order; `does` is called when the line's own button, such as Undo, is pressed.
function handsOf(el) {
  const root = element("div", "tw-hands"), dialog = element("dialog", "tw-sure"), said = element("div", "tw-said");
  said.setAttribute("role", "status");
  said.hidden = true;
  root.append(dialog, said);
  el.append(root);
  let hiding = null;

  const say = (state, words, { word, does, percent } = {}) => {
    clearTimeout(hiding);
    const pieces = [element("span", "tw-said-words", words)];
    if (percent !== undefined) { const bar = element("progress", "tw-said-bar"); bar.max = 100; bar.value = percent; bar.ariaLabel = words; pieces.push(bar); }
    if (does) pieces.push(button("tw-undo", word, does));
    const shut = button("tw-shut", "✕", () => { said.hidden = true; });
    shut.ariaLabel = "close this message";
    said.replaceChildren(...pieces, ...(percent === undefined ? [shut] : [])); // what is under way is said anew anyway
    said.dataset.state = state;
    said.hidden = false;
    if (state !== "wait") hiding = setTimeout(() => { said.hidden = true; }, state === "bad" ? 3 * SHOWN_MS : SHOWN_MS);
  };

  // The safe answer has the focus unless something is to be typed, and Escape is one; what is done stands away from it.
  const show = (title, pieces, { word, go, danger = false, focus = null, leave = null, stays = false, css = "" } = {}) => {
    const row = element("div", "tw-sure-row"), keep = button("tw-keep", leave ?? (go ? "Leave it as it is" : "Close"), () => dialog.close());
    const does = go ? button(danger ? "tw-go" : "tw-go tw-fine", word, () => { if (go() !== false && !stays) dialog.close(); }) : null;
    row.append(...(does ? [does] : []), keep);
    dialog.className = `tw-sure ${css}`;
    dialog.replaceChildren(element("h2", "", title), ...pieces, row, ...(does ? [element("p", "tw-keys", "Ctrl-Enter does it, Esc leaves it.")] : []));
    dialog.onkeydown = (event) => { if (does && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); does.click(); } };
    dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
    if (!dialog.open) dialog.showModal();
    (focus ?? keep).focus();
    return does;
  };

  return { root, dialog, say, show, end: () => clearTimeout(hiding) };
}
