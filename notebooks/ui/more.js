// The menu behind More, at the foot of a phone: arrows walk through it, Escape and a tap elsewhere close it.

const ofMore = () => document.querySelector(".tw-rail .tw-others");

function shutMore({ focus } = {}) {
  const more = ofMore();
  if (!more?.open) return;
  more.open = false;
  if (focus) more.querySelector("summary").focus();
}

function keyInMore(event) {
  const more = ofMore();
  if (!more?.open || !more.parentElement.contains(event.target)) return;
  if (event.key === "Escape") { shutMore({ focus: true }); return; }
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  const stops = [...more.parentElement.querySelectorAll(".tw-rest"), more.querySelector("summary")];
  const step = event.key === "ArrowDown" ? 1 : -1, at = stops.indexOf(event.target);
  stops[at < 0 ? 0 : (at + step + stops.length) % stops.length].focus();
  event.preventDefault();
}

// The menu stays open while the focus is anywhere in the bar, so that Tab reaches all of it.
function leaveMore(event) {
  if (!ofMore()?.parentElement.contains(event.target)) shutMore();
}

// Returns what takes it all away again.
function listenForMore() {
  const heard = { keydown: keyInMore, focusin: leaveMore, pointerdown: leaveMore };
  for (const [name, does] of Object.entries(heard)) document.addEventListener(name, does);
  return () => { for (const [name, does] of Object.entries(heard)) document.removeEventListener(name, does); };
}
