/** Python's `strftime` in the C locale, as far as chat templates use it. Plain JavaScript: a worker thread loads it. */
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

const two = value => String(value).padStart(2, '0');
const hour12 = date => date.getHours() % 12 || 12;

const DIRECTIVES = {
  Y: date => String(date.getFullYear()).padStart(4, '0'),
  y: date => two(date.getFullYear() % 100),
  m: date => two(date.getMonth() + 1),
  d: date => two(date.getDate()),
  e: date => String(date.getDate()).padStart(2),
  B: date => MONTHS[date.getMonth()],
  b: date => MONTHS[date.getMonth()].slice(0, 3),
  A: date => DAYS[date.getDay()],
  a: date => DAYS[date.getDay()].slice(0, 3),
  j: date => String(dayOfYear(date)).padStart(3, '0'),
  H: date => two(date.getHours()),
  I: date => two(hour12(date)),
  M: date => two(date.getMinutes()),
  S: date => two(date.getSeconds()),
  p: date => (date.getHours() < 12 ? 'AM' : 'PM'),
  F: date => strftime(date, '%Y-%m-%d'),
  T: date => strftime(date, '%H:%M:%S'),
  '%': () => '%',
};

/** `format` in local time. `%-d` leaves out the padding; an unknown directive stays as it is. */
export function strftime(date, format) {
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, bare, directive) => {
    const value = DIRECTIVES[directive]?.(date);
    if (value === undefined) return whole;
    return bare ? value.replace(/^[0 ]+(?=.)/, '') : value;
  });
}

function dayOfYear(date) {
  const start = Date.UTC(date.getFullYear(), 0, 1);
  return (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - start) / 86_400_000 + 1;
}
