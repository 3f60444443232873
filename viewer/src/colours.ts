/** Colours of values: from the theme, linear in sRGB from zero over a middle to the end, on either side. */
type Rgb = [number, number, number];
export interface Palette {
  ink: string; soft: string; line: string; panel: string; accent: string; second: string; warn: string; void: string;
  positive: Rgb[]; negative: Rgb[]; masked: Rgb; definition: Rgb;
  pos: string; neg: string;
}

let known: Palette | null = null;
const STEPS = 128;

function rgb(colour: string): Rgb {
  const hex = colour.trim().slice(1);
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)) as Rgb;
}
const mix = (a: Rgb, b: Rgb, t: number): Rgb => a.map((x, k) => Math.round(x + (b[k] - x) * t)) as Rgb;

export function palette(): Palette {
  if (known) return known;
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const ramp = (side: string): Rgb[] => {
    const [zero, middle, end] = ["zero", side, `${side}-end`].map((name) => rgb(colour(name)));
    return Array.from({ length: STEPS + 1 }, (_, k) => {
      const t = k / STEPS;
      return t < 0.5 ? mix(zero, middle, 2 * t) : mix(middle, end, 2 * t - 1);
    });
  };
  known = {
    ink: colour("ink"), soft: colour("soft"), line: colour("line"), panel: colour("panel"), accent: colour("accent"),
    second: colour("second"), warn: colour("warn"), void: colour("masked"),
    positive: ramp("pos"), negative: ramp("neg"), masked: rgb(colour("masked")), definition: rgb(colour("zero")),
    pos: colour("pos"), neg: colour("neg"),
  };
  return known;
}

/** Draw anew when the theme changes. */
export function watchTheme(changed: () => void): void {
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
    matchMedia(query).addEventListener("change", () => { known = null; changed(); });
  }
}

export function colour(p: Palette, x: number, end: number): Rgb {
  const ramp = x < 0 ? p.negative : p.positive;
  return ramp[Math.round(STEPS * Math.min(1, Math.abs(x) / end))];
}
