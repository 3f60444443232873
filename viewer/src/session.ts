/** The results on the page: the one shown, the one it is compared with, and how their tokens correspond. */
import type { Result } from "./result";

export interface Session {
  a: Result | null;
  b: Result | null;
  /** Pairs of tokens of a and b that are the same; null: token by token. */
  alignment: [number, number][] | null;
}
export const session: Session = { a: null, b: null, alignment: null };
