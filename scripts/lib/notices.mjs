// @ts-check

/** Not needed at run time, but part of the addon that is built from their headers. */
const COMPILED_IN = new Set(['node-addon-api', 'node-api-headers']);

const HEAD = `# Third-party notices

Weft depends on the packages below when it runs; each is under the licence named. None is part of this repository: they are
installed from their own publishers, with their licence texts. Tools that only build or test are not listed.

| package | version | licence |
| --- | --- | --- |
`;

/**
 * THIRD_PARTY_NOTICES.md, made from the lockfile.
 * @param {{ packages: Record<string, { version?: string, license?: string, dev?: boolean, link?: boolean }> }} lockfile
 */
export function thirdPartyNotices(lockfile) {
  /** @type {Set<string>} */
  const rows = new Set();
  for (const [path, { version, license, dev, link }] of Object.entries(lockfile.packages)) {
    const name = path.split('node_modules/').pop() ?? '';
    const installed = path.includes('node_modules/') && !link;
    if (!installed || (dev && !COMPILED_IN.has(name))) continue;
    if (!license) throw new Error(`${name} ${version} states no licence`);
    rows.add(`| ${name} | ${version} | ${license} |`);
  }
  return `${HEAD}${[...rows].sort().join('\n')}\n`;
}
