/** The extension for applications with Quarkus. */
package io.extauthz.quarkus;
