/** Numbers as people read them. */

export const present = <T>(x: T | null | undefined): x is T => x !== null && x !== undefined && !Number.isNaN(x);

/** All the digits that a float32 has. */
export function digits(x: number | null | undefined, count = 6): string {
  if (!present(x)) return "—";
  if (x === 0) return "0";
  return Math.abs(x) < 1e-4 ? x.toExponential(count - 1) : x.toPrecision(count);
}
export const short = (x: number): string => (x === 0 ? "0" : String(Number(x.toPrecision(3))));
export const small = (x: number | null | undefined): string => (!present(x) ? "—" : x === 0 ? "0" : x.toExponential(1));
export const percent = (x: number | null | undefined, count = 3): string =>
  !present(x) ? "—" : `${short(Number((100 * x).toPrecision(count)))} %`;
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** 0 to 3, 7 */
export function listed(numbers: number[]): string {
  const runs: number[][] = [];
  for (const x of numbers) {
    const last = runs[runs.length - 1];
    if (last && x === last[1] + 1) last[1] = x;
    else runs.push([x, x]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
}

export function bytes(size: number): string {
  return size < 1e6 ? `${Math.ceil(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}
