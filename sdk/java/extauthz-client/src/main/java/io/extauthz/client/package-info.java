/**
 * The client of extauthz: manage resources, rules and policies, ask for decisions, verify that a request
 * passed a check.
 *
 * <p>{@link io.extauthz.client.ExtauthzClient} is the place to start. A reference that may be null says so;
 * every other parameter is refused with a {@link java.lang.NullPointerException} where it is null.
 */
package io.extauthz.client;
