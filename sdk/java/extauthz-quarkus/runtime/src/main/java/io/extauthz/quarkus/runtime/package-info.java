/** The extension at run time. */
package io.extauthz.quarkus.runtime;
