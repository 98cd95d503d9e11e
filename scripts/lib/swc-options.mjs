// @ts-check

/**
 * How TypeScript becomes JavaScript, in the build, in the tests and in scripts that run from source alike.
 * @param {import('@swc/core').Options['sourceMaps']} sourceMaps
 * @returns {import('@swc/core').Options}
 */
export const swcOptions = sourceMaps => ({
  swcrc: false,
  configFile: false,
  sourceMaps,
  jsc: {
    target: 'es2022',
    parser: { syntax: 'typescript', decorators: true },
    // Nest injects by the metadata of decorated constructors.
    transform: { legacyDecorator: true, decoratorMetadata: true },
    keepClassNames: true,
    experimental: { keepImportAttributes: true },
  },
  module: { type: 'es6' },
});
