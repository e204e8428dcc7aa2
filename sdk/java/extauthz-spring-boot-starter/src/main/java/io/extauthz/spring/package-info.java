/**
 * The starter for Spring Boot: declares with {@link io.extauthz.declare.Resource} on controllers and their
 * methods, registers when the application starts, and can decide about calls that bypass the mesh.
 */
package io.extauthz.spring;
