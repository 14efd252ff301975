// What an event says in a few words, and where the thing is that it tells of; the tables come from the kernel. Joined after dom.js.

const DOT = "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z";
const PIECES = 3, SAID_CHARS = 240, MOST_LINKS = 6;
const number = (value) => value.toLocaleString("en-US");
const familyOf = (event) => event.type.split(".")[0];

function svg(path, size = 15) {
  return `<svg width="${size}" height="${size}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${path || DOT}"></path></svg>`;
}

function latency(ms) { return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`; }

function satWords(msat) {
  const rest = Math.abs(msat) % 1000, whole = number(Math.trunc(msat / 1000));
  return `${whole}${rest ? `.${String(rest).padStart(3, "0")}`.replace(/0+$/, "") : ""} sat`;
}

function word(key, value) {
  if (typeof value === "number") {
    if (key.endsWith("_ms")) return latency(value);
    if (key.endsWith("_s")) return latency(value * 1000);
    if (key.endsWith("_msat")) return satWords(value);
    return number(value);
  }
  if (Array.isArray(value)) return value.join(", ");
  return String(value).split(/\s+/).join(" ").trim();
}

function filled(phrase, event) {
  let missing = false;
  const text = phrase.replace(/\{([^{}]+)\}/g, (_, key) => {
    const value = key.startsWith("@") ? event[key.slice(1)] : event.data[key];
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) { missing = true; return ""; }
    return word(key, value);
  });
  return missing ? "" : text;
}

function said(event, { phrases, keys, meanings }) {
  const { data } = event;
  if (data === null) return "redacted";
  const pieces = (phrases[event.type] ?? []).map((phrase) => filled(phrase, event)).filter(Boolean);
  if (!pieces.length) {
    const known = keys.filter((key) => data[key] !== undefined && data[key] !== null && data[key] !== "").slice(0, PIECES);
    const unit = { failures: " failures", characters: " characters" };
    pieces.push(...known.map((key) => (key === "session" ? `session ${data[key]}` : word(key, data[key]) + (unit[key] ?? ""))));
  }
  if (!pieces.length) {
    const plain = Object.entries(data).slice(0, PIECES).filter(([, value]) => ["string", "number"].includes(typeof value));
    pieces.push(...plain.map(([key, value]) => `${key} ${value}`));
  }
  // An id in the middle of words is shortened to its end, as everywhere.
  const text = [...new Set(pieces)].join(" · ").replace(/\b[0-9a-f]{26,64}([0-9a-f]{6})\b/g, "…$1");
  return (text || meanings[event.type] || "").slice(0, SAID_CHARS);
}

// The same table and the same order as in things.py.
function thingsOf(event, rules) {
  const found = new Map();
  for (const rule of rules) {
    if (rule.last && found.size) continue;
    if (rule.of.length && !rule.of.includes(event.type) && !rule.of.includes(familyOf(event))) continue;
    if (!rule.key) { if (!found.has(rule.path)) found.set(rule.path, rule.word); continue; }
    const value = rule.key.startsWith("@") ? event[rule.key.slice(1)] : event.data?.[rule.key];
    for (const one of Array.isArray(value) ? value : [value]) {
      if (!["string", "number"].includes(typeof one) || one === "") continue;
      if (rule.path === "{}") { if (typeof one === "string" && one.startsWith("/") && !one.startsWith("//") && !found.has(one)) found.set(one, rule.word); continue; }
      const href = rule.path.replace("{}", encodeURIComponent(one));
      if (!found.has(href)) found.set(href, rule.word.replace("{}", one));
    }
  }
  return [...found].slice(0, MOST_LINKS);
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 86400) return `${Math.floor(whole / 86400)} d`;
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min` : `${whole} s`;
}

async function copyText(node, text) {
  try { await navigator.clipboard.writeText(text); } catch { return; }
  const before = node.textContent;
  node.textContent = "copied";
  setTimeout(() => { node.textContent = before; }, 1000);
}
