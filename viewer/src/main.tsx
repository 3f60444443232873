/** One bundle for `/`, for files and for notebooks: what the page holds says which it is. */
import { render } from "preact";
import { App } from "./app";
import "./style.css";

const shell = document.getElementById("results") ? "file" : "live";
render(<App shell={shell} />, document.getElementById("viewer")!);
