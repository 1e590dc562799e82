import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

// Whose API `npm run dev` uses: the lab's, unless told otherwise.
const API = process.env.DEV_API ?? `https://127.0.0.1:${process.env.LAB_SLM_PORT ?? '8443'}`

export default defineConfig({
  plugins: [vue()],
  // Where the pages are on every site: beside AutoBot's own, which may have all other addresses.
  base: '/user-management/',
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  build: {
    target: 'es2023',
    // Nothing inline: the pages' policy allows files of this origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': { target: API, secure: false } } },
  test: {
    environment: 'happy-dom',
    include: ['tests/**/*.test.ts'],
    restoreMocks: true,
    // A slow machine is no fault: these only end what would never end.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
