package io.extauthz.spring;

import io.extauthz.declare.Caller;
import jakarta.servlet.http.HttpServletRequest;
import java.util.Optional;
import org.springframework.core.MethodParameter;
import org.springframework.http.HttpStatus;
import org.springframework.web.bind.support.WebDataBinderFactory;
import org.springframework.web.context.request.NativeWebRequest;
import org.springframework.web.method.support.HandlerMethodArgumentResolver;
import org.springframework.web.method.support.ModelAndViewContainer;
import org.springframework.web.server.ResponseStatusException;

/**
 * Passes the {@link Caller} to a handler method. A request without one is answered 401, unless the parameter
 * is an {@code Optional<Caller>}.
 */
final class CallerArgument implements HandlerMethodArgumentResolver {

    @Override
    public boolean supportsParameter(MethodParameter parameter) {
        return parameter.nestedIfOptional().getNestedParameterType() == Caller.class;
    }

    @Override
    public Object resolveArgument(
            MethodParameter parameter,
            ModelAndViewContainer container,
            NativeWebRequest request,
            WebDataBinderFactory binders) {
        HttpServletRequest servletRequest = request.getNativeRequest(HttpServletRequest.class);
        Optional<Caller> caller = servletRequest == null ? Optional.empty() : CallerFilter.caller(servletRequest);
        if (parameter.getParameterType() == Optional.class) {
            return caller;
        }
        return caller.orElseThrow(() -> new ResponseStatusException(
                HttpStatus.UNAUTHORIZED, "the request did not come through extauthz"));
    }
}
