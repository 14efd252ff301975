// Buttons that carry data-steer, wherever they are drawn: confirmed where it hurts, carried out by the kernel, said below, undone.

const closeMenus = (but) => { for (const menu of document.querySelectorAll(".tw-steer[open]")) if (menu !== but) menu.open = false; };

function render({ model, el }) {
  const hands = handsOf(el);
  const say = (state, words, undo) => hands.say(state, words, undo ? { word: "Undo", does: () => send(undo) } : {});
  const send = (order) => {
    say("wait", order.action === "check" ? `Asking ${order.name} …` : "One moment …");
    model.send(order);
  };
  // What hurts is asked for once more.
  const sure = ({ confirm, ...order }) => {
    hands.show(confirm.title, [element("p", "", confirm.words)], { word: confirm.button, danger: true, go: () => send(order) });
  };

  const elsewhere = (event) => {
    const path = event.composedPath().filter((node) => node.dataset);
    if (!path.some((node) => node.dataset.steer)) closeMenus(path.find((node) => node.classList.contains("tw-steer")));
  };
  const deaf = heeded("steer", (asked) => {
    const order = JSON.parse(asked.dataset.steer);
    const summary = asked.closest(".tw-steer")?.querySelector("summary");
    closeMenus();
    summary?.focus();
    if (order.confirm) sure(order); else send(order);
  });
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
  document.addEventListener("click", elsewhere);
  document.addEventListener("keydown", key);
  model.on("msg:custom", told);
  return () => {
    deaf();
    document.removeEventListener("click", elsewhere);
    document.removeEventListener("keydown", key);
    model.off("msg:custom", told);
    hands.end();
  };
}

export default { render };
