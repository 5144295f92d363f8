//! The style sheet of a page: one column, light or dark as the reader has it, and plain on paper.

use std::fmt::Write as _;

use crate::plot::PALETTE;

/// What is the same on screens and on paper.
const BASE: &str = "\
:root { --ground: #ffffff; --ink: #222222; --quiet: #5c5f63; --rule: #dcdee1; --code: #f3f4f6; \
--link: #005a9c; color-scheme: light dark; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); \
font: 1rem/1.55 'Noto Sans', system-ui, Arial, Helvetica, sans-serif; }
main { max-width: 48rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; margin: 0.5rem 0 1.5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem; \
border-bottom: 1px solid var(--rule); }
p { margin: 0.75rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ol { margin: 0; padding-left: 1.5rem; }
nav li { overflow-wrap: anywhere; }
code { font: 0.875em/1.4 ui-monospace, 'Noto Sans Mono', Menlo, Consolas, monospace; \
background: var(--code); border-radius: 3px; padding: 0.1em 0.3em; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.caption { margin: 1.25rem 0 0.5rem; font-size: 0.9375rem; color: var(--quiet); }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; }
.caption b, figcaption b { color: var(--ink); }
th, td { padding: 0.35rem 0.6rem; text-align: left; vertical-align: top; \
border-bottom: 1px solid var(--rule); }
th { border-bottom-color: var(--quiet); vertical-align: bottom; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th, td { max-width: 24rem; overflow-wrap: break-word; }
.right { text-align: right; }
.centre { text-align: center; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; max-width: none; }
td code { overflow-wrap: break-word; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; \
gap: 0.35rem 1rem; margin: 1rem 0; }
dt { color: var(--quiet); overflow-wrap: anywhere; }
dd { margin: 0; min-width: 0; }
dd code { white-space: pre-wrap; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; min-width: 18rem; max-width: 34rem; height: auto; }
figcaption { margin-top: 0.5rem; font-size: 0.9375rem; color: var(--quiet); \
overflow-wrap: anywhere; }
@media (max-width: 30rem) {
dl { grid-template-columns: 1fr; gap: 0; }
dd { margin-bottom: 0.5rem; }
}
@media print {
html { font-size: 10pt; }
main { max-width: none; padding: 0; }
nav { display: none; }
.wide { overflow: visible; }
figure, tr, dt { break-inside: avoid; }
h2, dt, .caption { break-after: avoid; }
thead { display: table-header-group; }
figure svg { max-width: 30rem; min-width: 0; }
}
";

/// The page's own colours in the dark.
const DARK: &str = "\
:root { --ground: #16181b; --ink: #e0e0de; --quiet: #a0a2a4; --rule: #3a3d41; --code: #24272b; \
--link: #7ab8f0; }
";

/// Returns the style sheet. In the dark every colour of the pictures is another one; paper is
/// always light.
pub(super) fn style_sheet() -> String {
    let mut out = format!("{BASE}@media screen and (prefers-color-scheme: dark) {{\n{DARK}");
    for (light, dark) in PALETTE {
        let (light, dark) = (light.hex(), dark.hex());
        let _ = writeln!(
            out,
            "svg [fill='{light}'] {{ fill: {dark}; }} svg [stroke='{light}'] {{ stroke: {dark}; }}"
        );
    }
    out.push_str("}\n");
    out
}
