// What a search puts first: where words are found as often, the page that answers before the page that mentions.
// Sphinx counts a word in a page once, so without this most pages of a result are equal, and sorted by their titles.
const Weights = [
  [/^docs\/(troubleshooting|conclusions|collections|cost|gpus|teacher-scores|export)$/, 9],
  [/^docs\/(studies|models|files|clusters|quickstart|report)$/, 8],
  [/^docs\/(losses|teachers|strategies|architectures|retrievers|sources)$/, 8],
  [/^docs\/(flow|trust|notebooks)$/, 5],
  [/^docs\/(api\/messages|claims|results|lessons)$/, 3],
  [/^notebooks\/lessons\/solutions\//, -4],
  [/^(docs\/api\/|CHANGELOG|CONTRIBUTING|benchmarks\/|docs\/differences|docs\/teaching)/, -4],
];
var Scorer = {
  score: ([page, , , , score]) => score + (Weights.find(([pages]) => pages.test(page)) ?? [null, 0])[1],
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
