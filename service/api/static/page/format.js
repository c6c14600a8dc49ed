// Numbers and times in words.

const LOCALE = "en-GB";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat(LOCALE, {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** 12,345 */
export const count = (value) => whole.format(value);

/** Three significant digits, without exponents where they can be avoided; – where there is none. */
export function figure(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e4) {
    return value.toExponential(1).replaceAll("-", "−").replace("e+", "e");
  }
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(decimals, digits)).replace("-", "−");
}

/** The same in a column: what is smaller than half a thousandth is as good as zero there. */
export const cell = (value) =>
  value !== null && value !== undefined && Math.abs(value) < 5e-4 ? "0.000" : figure(value);

/** 0.123 → 12.3%; what is nearly nothing, or nearly all, is not rounded to it. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0 || share === 1) return `${100 * share}%`;
  if (share < 5e-4) return "<0.1%";
  return share >= 0.9995 ? ">99.9%" : `${(100 * share).toFixed(1)}%`;
}

/** 300 → 5 min */
export function duration(value) {
  if (value < 1) return "less than a second";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${figure(value / 3600, 2)} h`;
  return `${Math.round(value / 86400)} days`;
}

/** Milliseconds, or microseconds where they say more. */
export const latency = (ms) => (ms < 1 ? `${Math.round(ms * 1000)} µs` : `${figure(ms)} ms`);

/** Time of day, of seconds since 1970. */
export const timeOfDay = (epoch) => clock.format(new Date(epoch * 1000));
export const timeWithSeconds = (epoch) => seconds.format(new Date(epoch * 1000));

/** One image, two images. */
export const images = (n) => `${count(n)} image${n === 1 ? "" : "s"}`;

/** One request, two requests. */
export const requests = (n) => `${count(n)} request${n === 1 ? "" : "s"}`;

/** The first letter large, and a full stop at the end. */
export const sentence = (text) =>
  text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
