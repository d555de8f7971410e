"""How the page looks: one style sheet, light or dark as the reader's system is, one column that fits a telephone."""

CSS = """
:root { color-scheme: light dark; --ground: #fdfdfc; --ink: #1b1b1d; --soft: #63636a; --faint: #dcdce0;
  --dark: #1f5a96; --bright: #c96a12; --panel: #f3f3f1; }
@media (prefers-color-scheme: dark) { :root { --ground: #17181a; --ink: #ececee; --soft: #a2a2a9; --faint: #36373b;
  --dark: #7db4ec; --bright: #f0a458; --panel: #202225; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .5rem; padding-top: .9rem; border-top: 1px solid var(--faint); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0; }
.soft, dd, figcaption small { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--panel); padding: .7rem .8rem; border-radius: .4rem; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; line-height: 1.3; display: block; margin-top: .2rem; }
figure { margin: 1.4rem 0 2rem; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
figcaption small { display: block; font-weight: 400; margin-top: .15rem; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; font-family: system-ui, sans-serif; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 1.6rem; }
.pair figure { margin: 1rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: right; vertical-align: bottom; font-weight: 600; line-height: 1.25; }
td { text-align: right; vertical-align: top; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child, .words th, .words td { text-align: left; padding-left: 0; }
.words th:not(:first-child), .words td:not(:first-child) { padding-left: .6rem; }
td { white-space: nowrap; }
td:first-child, .words td { white-space: normal; min-width: 7rem; }
.short td:first-child { min-width: 0; }
.bar { min-width: 4.5rem; width: 45%; text-align: left; }
.bar i { display: block; height: .8rem; margin-top: .35rem; background: var(--dark); min-width: 1px; }
@media (max-width: 36rem) { th, td { padding: .3rem .4rem; } table { font-size: .86rem; } }
dl { margin: 1rem 0; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0; }
"""
