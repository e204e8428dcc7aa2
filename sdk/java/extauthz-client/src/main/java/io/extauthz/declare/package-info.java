/**
 * Declare in code what an endpoint needs, and register it when the application starts. No type of a web
 * framework is used here: the starter for Spring Boot and the extension for Quarkus bring their endpoints.
 *
 * <p>INVARIANT: a route is registered only if each request that the mesh judges by it is dispatched to an
 * endpoint that declares the same resource, action and authentication. {@link io.extauthz.declare.Declarations}
 * leaves out what breaks that, with a message that names class, method and fix.
 */
package io.extauthz.declare;
