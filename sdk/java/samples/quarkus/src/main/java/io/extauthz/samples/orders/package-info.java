/** A service that declares what its endpoints need. */
package io.extauthz.samples.orders;
