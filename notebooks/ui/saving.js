// Buttons that carry data-save, wherever they are drawn: the table comes in pieces and is saved as a file.

function render({ model, el }) {
  const hands = handsOf(el);
  let pieces = [];
  const told = (message, buffers) => {
    if (message.kind === "said") hands.say("bad", message.words);
    if (message.kind === "chunk") pieces.push(buffers[0]);
    if (message.kind !== "file") return;
    const link = element("a");
    link.href = URL.createObjectURL(new Blob(pieces, { type: message.type }));
    link.download = message.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    pieces = [];
    hands.say("good", message.words);
  };
  const deaf = heeded("save", (by) => {
    const order = JSON.parse(by.dataset.save);
    pieces = [];
    hands.say("wait", `Preparing ${order.table}.${order.format} …`);
    model.send(order);
  });
  model.on("msg:custom", told);
  return () => { model.off("msg:custom", told); deaf(); hands.end(); };
}

export default { render };
