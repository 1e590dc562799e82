import { defineConfig } from '@hey-api/openapi-ts'

export default defineConfig({
  input: '../../docs/openapi.json',
  output: { path: process.env.GENERATED ?? 'src/api/generated' },
  plugins: [
    { name: '@hey-api/client-fetch', baseUrl: false, throwOnError: true },
    '@hey-api/typescript',
    // Cookies carry the session; no operation has a token to send.
    { name: '@hey-api/sdk', auth: false },
  ],
})
