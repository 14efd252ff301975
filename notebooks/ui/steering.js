// Buttons that carry data-steer, wherever they are drawn: confirmed where it hurts, carried out by the kernel, said below, undone.

const SHOWN_MS = 12000;

const closeMenus = (but) => { for (const menu of document.querySelectorAll(".tw-steer[open]")) if (menu !== but) menu.open = false; };

function render({ model, el }) {
  const root = element("div", "tw-hands");
  const dialog = element("dialog", "tw-sure"), said = element("div", "tw-said");
  said.setAttribute("role", "status");
  said.hidden = true;
  root.append(dialog, said);
  el.append(root);
  let hiding = null;

  const say = (state, words, undo) => {
    clearTimeout(hiding);
    const pieces = [element("span", "tw-said-words", words)];
    if (undo) pieces.push(button("tw-undo", "Undo", () => send(undo)));
    const shut = button("tw-shut", "✕", () => { said.hidden = true; });
    shut.ariaLabel = "close this message";
    said.replaceChildren(...pieces, shut);
    said.dataset.state = state;
    said.hidden = false;
    if (state !== "wait") hiding = setTimeout(() => { said.hidden = true; }, state === "bad" ? 3 * SHOWN_MS : SHOWN_MS);
  };
  const send = (order) => {
    say("wait", order.action === "check" ? `Asking ${order.name} …` : "One moment …");
    model.send(order);
  };
  // What hurts is asked for once more; the safe answer has the focus, and Escape is one.
  const sure = ({ confirm, ...order }) => {
    dialog.replaceChildren(element("h2", "", confirm.title), element("p", "", confirm.words));
    const row = element("div", "tw-sure-row"), keep = button("tw-keep", "Leave it as it is", () => dialog.close());
    const go = button("tw-go", confirm.button, () => { dialog.close(); send(order); });
    row.append(go, keep);
    dialog.append(row, element("p", "tw-keys", "Ctrl-Enter does it, Esc leaves it."));
    dialog.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); go.click(); } };
    dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
    dialog.showModal();
    keep.focus();
  };

  const click = (event) => {
    const path = event.composedPath().filter((node) => node.dataset);
    const asked = path.find((node) => node.dataset.steer);
    if (!asked) { closeMenus(path.find((node) => node.classList?.contains("tw-steer"))); return; }
    const order = JSON.parse(asked.dataset.steer);
    const summary = asked.closest(".tw-steer")?.querySelector("summary");
    closeMenus();
    summary?.focus();
    if (order.confirm) sure(order); else send(order);
  };
  const key = (event) => {
    if (event.key !== "Escape") return;
    const open = document.querySelector(".tw-steer[open]");
    closeMenus();
    open?.querySelector("summary").focus();
  };
  const told = (message) => {
    if (message.kind !== "said") return;
    say(message.state, message.words, message.undo);
    // The page is drawn anew at once, without waiting for the event to come by.
    model.set("done", model.get("done") + 1);
    model.save_changes();
  };
  document.addEventListener("click", click);
  document.addEventListener("keydown", key);
  model.on("msg:custom", told);
  return () => {
    document.removeEventListener("click", click);
    document.removeEventListener("keydown", key);
    model.off("msg:custom", told);
    clearTimeout(hiding);
  };
}

export default { render };
