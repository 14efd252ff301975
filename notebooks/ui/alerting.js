// The alerts at the top right of every page: how many, and behind a click which. Nothing is drawn while all is well.

const ALERT_TONES = { error: "tw-bad", warning: "tw-wait" };
const WARN = "M12 4 3 20h18zM12 10v5M12 17v.5";

function sign(path) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ class: "tw-icon", width: 15, height: 15, viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.75, "aria-hidden": "true" })) drawn.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  drawn.append(line);
  return drawn;
}

function alertLine(alert) {
  const item = element("li", ALERT_TONES[alert.severity]);
  const link = element("a", "", alert.message);
  link.href = alert.path;
  const since = element("time", "", " ");
  since.dateTime = alert.raised_at;
  since.dataset.style = "ago";
  item.append(sign(WARN), link, since);
  return item;
}

function drawAlerts(shown, { alerts, delivery }) {
  const worst = alerts.some((alert) => alert.severity === "error") ? "error" : "warning";
  const summary = element("summary", ALERT_TONES[worst]);
  summary.append(sign(WARN), element("span", "", alerts.length === 1 ? "1 alert" : `${alerts.length} alerts`));
  const list = element("ul");
  list.append(...alerts.map(alertLine));
  const foot = element("p");
  const past = element("a", "", "what was said before");
  past.href = "/swarm/events?family=alert";
  foot.append(delivery.problem ? `Nobody could be told yet: ${delivery.problem}. ` : "", past);
  shown.replaceChildren(summary, list, foot);
}

let drawnAlerts = "";

// Without the server, as in the editor, there are none; while it is away the page says so elsewhere.
async function countAlerts() {
  if (document.hidden || !document.querySelector(".tw-rail")) return;
  let found = null;
  try {
    const answer = await fetch("/api/v1/alerts", { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    found = await answer.json();
  } catch {
    return;
  }
  let shown = document.querySelector(".tw-alerts");
  const said = JSON.stringify([found.delivery.problem, found.alerts.map(({ id, severity, message }) => [id, severity, message])]);
  if (!found.alerts.length) { shown?.remove(); drawnAlerts = ""; return; }
  if (shown && said === drawnAlerts) return;
  drawnAlerts = said;
  if (!shown) {
    shown = element("details", "tw-alerts");
    shown.setAttribute("role", "status");
    shown.addEventListener("keydown", (event) => { if (event.key === "Escape") { shown.open = false; shown.firstChild.focus(); } });
    document.body.append(shown);
  }
  const focused = document.activeElement === shown.firstChild;
  drawAlerts(shown, found);
  if (focused) shown.firstChild.focus();
  countTimes();
}
