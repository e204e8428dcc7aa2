/** The extension at build time. */
package io.extauthz.quarkus.deployment;
