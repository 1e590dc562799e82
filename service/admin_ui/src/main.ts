import { VueQueryPlugin } from '@tanstack/vue-query'
import { createApp } from 'vue'

import App from './App.vue'
import { router } from './router'
import { queryClient } from './session/session'
import './styles/main.css'

// After a deployment an open tab may ask for a part that is no longer there.
window.addEventListener('vite:preloadError', () => location.reload())

createApp(App).use(VueQueryPlugin, { queryClient }).use(router).mount('#app')
