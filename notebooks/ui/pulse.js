// Keeps a page alive without drawing anything: beats for the kernel, counts times, copies ids, sets the connection dot.

const MINUTE = 60, HOUR = 3600, DAY = 86400, PENDING_MS = 30000;

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= DAY) return `${Math.floor(whole / DAY)} d`;
  if (whole >= HOUR) return `${Math.floor(whole / HOUR)} h`;
  if (whole >= MINUTE) return `${Math.floor(whole / MINUTE)} min`;
  return `${whole} s`;
}

function words(style, moment) {
  const seconds = (present() - moment.getTime()) / 1000;
  if (style === "ago") return `${duration(seconds)} ago`;
  if (style === "minute") return moment.toLocaleString([], { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
  if (style === "age") return duration(seconds);
  if (style === "ends") return seconds < 0 ? `for ${duration(-seconds)}` : "no longer";
  if (style === "anew") return seconds < 0 ? `in ${duration(-seconds)}` : "now";
  if (style === "left") return seconds < 0 ? `in ${duration(-seconds)}` : "with the next question";
  if (style === "full") return moment.toLocaleString([], { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
  if (style === "day") return moment.toLocaleDateString([], { day: "numeric", month: "short" });
  return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

// Widgets draw into roots of their own, which a search of the document leaves out.
function everywhere(selector) {
  const roots = [...document.querySelectorAll("marimo-anywidget")].map((host) => host.shadowRoot).filter(Boolean);
  return [document, ...roots].flatMap((root) => [...root.querySelectorAll(selector)]);
}

function countTimes() {
  for (const element of everywhere("time[data-style]")) {
    const moment = new Date(element.dateTime);
    const text = element.firstChild;
    const now = words(element.dataset.style, moment);
    // The text node is changed in place, because the page's own renderer still holds on to it.
    if (text && text.nodeValue !== now) text.nodeValue = now;
    element.title = moment.toLocaleString();
  }
}

async function copy(event) {
  const button = event.composedPath().find((node) => node.dataset && node.dataset.copy);
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    return; // without the permission the whole text is still there on hover
  }
  button.classList.add("tw-copied");
  setTimeout(() => button.classList.remove("tw-copied"), 1200);
}

// A click anywhere in a table's row chooses the row, as a click on its box does.
function chooseRow(event) {
  const path = event.composedPath();
  if (!path.some((node) => node.localName === "marimo-table") || path.some((node) => ["button", "a", "input"].includes(node.localName))) return;
  path.find((node) => node.localName === "tr")?.querySelector("button[role=checkbox]")?.click();
}

// Keeps the conversation at its end while an answer grows, unless the reader has scrolled back.
function followChat(chat) {
  const scroller = chat.shadowRoot?.querySelector(".grow.overflow-y-auto");
  if (!scroller || scroller.twFollowed) return;
  scroller.twFollowed = true;
  let atEnd = true;
  scroller.addEventListener("scroll", () => { atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80; });
  const follow = () => { if (atEnd) scroller.scrollTop = scroller.scrollHeight; };
  new MutationObserver(follow).observe(scroller, { childList: true, subtree: true, characterData: true });
  follow();
}

const DOTS = {
  connecting: ["connecting", "connecting to the live feed"],
  open: ["live", "the live feed is connected"],
  local: ["local", "this page runs without the server and looks again every few seconds"],
  lost: ["lost", "the live feed is lost; trying again"],
};

// While the server is away: when that began, and what to do. The page itself stays as it was.
function showAway(lost) {
  const shown = document.querySelector(".tw-away");
  if (lost === Boolean(shown)) return;
  document.body.toggleAttribute("data-tw-lost", lost);
  if (!lost) { shown.remove(); return; }
  const note = document.createElement("div");
  note.className = "tw-away";
  note.setAttribute("role", "status");
  const since = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  note.textContent = `The server does not answer since ${since}; what you see is from then. This page goes on by itself once \u201ctimmy up\u201d runs again.`;
  document.body.append(note);
}

function showConnection(state) {
  showAway(state === "lost");
  const dot = document.querySelector(".tw-connection");
  if (!dot || dot.dataset.state === state) return;
  dot.dataset.state = state;
  dot.title = DOTS[state][1];
  dot.querySelector(".tw-word").textContent = DOTS[state][0];
}

// The count beside Upgrades; without the server, as in the editor, there is none.
async function countPending() {
  const badge = document.querySelector(".tw-badge");
  if (!badge || document.hidden) return;
  let pending = 0;
  try {
    const answer = await fetch("/api/v1/upgrades/pending", { headers: { Accept: "application/json" } });
    if (answer.ok) pending = (await answer.json()).pending;
  } catch {
    return; // the server is away, which the page says elsewhere
  }
  if (badge.firstChild) badge.firstChild.nodeValue = pending > 99 ? "99+" : String(pending);
  badge.dataset.pending = pending || "";
  badge.closest("a").title = pending === 1 ? "1 proposal is on its way" : pending ? `${pending} proposals are on their way` : "";
}

function render({ model }) {
  let counted = 0, counting = null;
  const count = (wait = 0) => { clearTimeout(counting); counting = setTimeout(() => { counted = Date.now(); countPending(); countAlerts(); }, wait); };
  let socket = null, delay = 500, everOpen = false, done = false;
  let state = "connecting", due = null, last = Date.now(), retry = null;
  let cursor = model.get("since");
  // After a restart of the server the page's kernel is gone until marimo has made a new one, which draws the page anew.
  let server = null, orphaned = false;

  const beat = () => {
    due = null;
    if (document.hidden || done || orphaned || state === "lost") return;
    last = Date.now();
    model.set("beat", model.get("beat") + 1);
    model.save_changes();
  };
  const soon = () => { due = due ?? setTimeout(beat, Math.max(50, last + 1000 - Date.now())); };
  const show = (next) => { state = next; if (model.get("dot")) showConnection(state); };

  const connect = () => {
    if (done) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}${model.get("path")}?since=${cursor}`);
    socket.onmessage = (message) => {
      const packet = JSON.parse(message.data);
      if (packet.kind === "hello") {
        orphaned = orphaned || (server !== null && packet.server !== server);
        server = packet.server;
        everOpen = true; delay = 500; cursor = Math.min(cursor, packet.head);
        show("open");
      } else if (packet.events?.length) {
        const head = packet.events[packet.events.length - 1].seq;
        const families = model.get("families");
        const counts = !families.length || packet.events.some((event) => families.includes(event.type.split(".")[0]));
        if (model.get("dot") && packet.events.some((event) => /^(upgrade|alert)\./.test(event.type))) count(300);
        if (head > cursor) { cursor = head; if (counts) soon(); }
      }
    };
    socket.onclose = () => {
      if (done) return;
      show(everOpen ? "lost" : "local");
      delay = Math.min(delay * 2, everOpen ? 10000 : 60000);
      retry = setTimeout(connect, delay * (0.75 + Math.random() / 2));
    };
  };

  const fromFeed = (event) => show(event.detail);
  if (model.get("follow")) connect();
  else if (model.get("dot")) {
    window.addEventListener("tw-connection", fromFeed);
    state = window.twConnection ?? state;
  }

  const second = setInterval(() => {
    countTimes();
    for (const chat of document.querySelectorAll("marimo-chatbot")) followChat(chat);
    show(state);
    if (model.get("dot") && state === "open" && Date.now() - counted > PENDING_MS) count();
    if (Date.now() - last >= model.get("every_s") * 1000) beat();
  }, 1000);
  const wake = () => { if (!document.hidden) soon(); };
  const click = (event) => { copy(event); if (model.get("dot")) chooseRow(event); };
  document.addEventListener("click", click);
  document.addEventListener("visibilitychange", wake);
  const unlisten = model.get("dot") ? listenForMore() : () => {};
  countTimes();

  return () => {
    done = true;
    unlisten();
    clearInterval(second); clearTimeout(due); clearTimeout(retry); clearTimeout(counting);
    document.removeEventListener("click", click);
    document.removeEventListener("visibilitychange", wake);
    window.removeEventListener("tw-connection", fromFeed);
    socket?.close();
  };
}

export default { render };
