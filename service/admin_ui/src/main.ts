import { VueQueryPlugin } from '@tanstack/vue-query'
import { createApp } from 'vue'

import { messageOf } from './api/problem'
import App from './App.vue'
import { announceFailure } from './components/announcer'
import { router } from './router'
import { reach } from './session/refresh'
import { queryClient } from './session/session'
import './styles/main.css'

// After a deployment an open tab may ask for a part that is no longer there. Without the network a
// reload would only lose what is on the page.
window.addEventListener('vite:preloadError', async () => {
  try {
    await reach(import.meta.env.BASE_URL, { method: 'HEAD', cache: 'no-store' })
    location.reload()
  } catch (error) {
    announceFailure(messageOf(error))
  }
})

createApp(App).use(VueQueryPlugin, { queryClient }).use(router).mount('#app')
