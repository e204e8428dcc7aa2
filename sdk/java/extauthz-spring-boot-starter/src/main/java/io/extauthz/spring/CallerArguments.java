package io.extauthz.spring;

import java.util.ArrayList;
import java.util.List;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.web.method.support.HandlerMethodArgumentResolver;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerAdapter;

/**
 * Puts {@link CallerArgument} before the resolvers of Spring MVC. One of these takes each parameter that is a
 * {@link java.security.Principal}, and passes null where the request has none.
 */
final class CallerArguments implements BeanPostProcessor {

    @Override
    public Object postProcessAfterInitialization(Object bean, String beanName) {
        if (bean instanceof RequestMappingHandlerAdapter adapter) {
            var resolvers = new ArrayList<HandlerMethodArgumentResolver>(List.of(new CallerArgument()));
            if (adapter.getArgumentResolvers() != null) {
                resolvers.addAll(adapter.getArgumentResolvers());
            }
            adapter.setArgumentResolvers(resolvers);
        }
        return bean;
    }
}
