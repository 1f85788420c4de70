export { LitElement, html, nothing } from 'lit';
export type { ReactiveControllerHost } from 'lit';
export { repeat } from 'lit/directives/repeat.js';
