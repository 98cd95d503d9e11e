import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  base: '/console/',
  plugins: [react()],
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    // The page's policy lets nothing come as data in an address.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
